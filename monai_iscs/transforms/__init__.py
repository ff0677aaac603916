# SPDX-License-Identifier: Apache-2.0
"""MONAI transforms: CT volumes to the prior's range and grid and back, and simulated measurements."""

from __future__ import annotations

from monai_iscs.transforms.checks import CheckCTVolume, CheckCTVolumeD, CheckCTVolumed, CheckCTVolumeDict
from monai_iscs.transforms.fit import FitInPlane, FitInPlaneD, FitInPlaned, FitInPlaneDict
from monai_iscs.transforms.load import LoadVolume, LoadVolumeD, LoadVolumed, LoadVolumeDict
from monai_iscs.transforms.measurement import (
    SimulateMeasurement,
    SimulateMeasurementD,
    SimulateMeasurementd,
    SimulateMeasurementDict,
)
from monai_iscs.transforms.preprocessing import InputCompose, ct_postprocessing, ct_preprocessing
from monai_iscs.transforms.scan import ConeBeamScan
from monai_iscs.transforms.thickness import ThickenSlices

__all__ = [
    "CheckCTVolume",
    "CheckCTVolumeD",
    "CheckCTVolumeDict",
    "CheckCTVolumed",
    "ConeBeamScan",
    "FitInPlane",
    "FitInPlaneD",
    "FitInPlaneDict",
    "FitInPlaned",
    "InputCompose",
    "LoadVolume",
    "LoadVolumeD",
    "LoadVolumeDict",
    "LoadVolumed",
    "SimulateMeasurement",
    "SimulateMeasurementD",
    "SimulateMeasurementDict",
    "SimulateMeasurementd",
    "ThickenSlices",
    "ct_postprocessing",
    "ct_preprocessing",
]
