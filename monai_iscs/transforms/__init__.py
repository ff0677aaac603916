# SPDX-License-Identifier: Apache-2.0
"""MONAI transforms: CT and MR volumes to the prior's range and grid and back, and measurements."""

from __future__ import annotations

from monai_iscs.transforms.checks import (
    CheckCTVolume,
    CheckCTVolumeD,
    CheckCTVolumed,
    CheckCTVolumeDict,
    CheckMRVolume,
    CheckMRVolumeD,
    CheckMRVolumed,
    CheckMRVolumeDict,
    CheckVolume,
    CheckVolumeD,
    CheckVolumed,
    CheckVolumeDict,
)
from monai_iscs.transforms.fit import FitInPlane, FitInPlaneD, FitInPlaned, FitInPlaneDict
from monai_iscs.transforms.lesions import InsertLesions, Lesion
from monai_iscs.transforms.load import LoadVolume, LoadVolumeD, LoadVolumed, LoadVolumeDict
from monai_iscs.transforms.load_projections import (
    LoadProjections,
    LoadProjectionsD,
    LoadProjectionsd,
    LoadProjectionsDict,
)
from monai_iscs.transforms.measurement import (
    SimulateMeasurement,
    SimulateMeasurementD,
    SimulateMeasurementd,
    SimulateMeasurementDict,
    TakeAsMeasured,
    TakeAsMeasuredD,
    TakeAsMeasuredd,
    TakeAsMeasuredDict,
)
from monai_iscs.transforms.mr_preprocessing import (
    mr_postprocessing,
    mr_preprocessing,
    thick_slice_postprocessing,
    thick_slice_preprocessing,
)
from monai_iscs.transforms.preprocessing import InputCompose, ct_postprocessing, ct_preprocessing
from monai_iscs.transforms.robust_maximum import (
    RestoreSignal,
    RestoreSignalD,
    RestoreSignald,
    RestoreSignalDict,
    ScaleByRobustMaximum,
    ScaleByRobustMaximumD,
    ScaleByRobustMaximumd,
    ScaleByRobustMaximumDict,
    robust_maximum,
)
from monai_iscs.transforms.slice_spacing import (
    CheckThickSlices,
    CheckThickSlicesD,
    CheckThickSlicesd,
    CheckThickSlicesDict,
    CheckThinSlices,
    CheckThinSlicesD,
    CheckThinSlicesd,
    CheckThinSlicesDict,
)
from monai_iscs.transforms.thickness import ThickenSlices

__all__ = [
    "CheckCTVolume",
    "CheckCTVolumeD",
    "CheckCTVolumeDict",
    "CheckCTVolumed",
    "CheckMRVolume",
    "CheckMRVolumeD",
    "CheckMRVolumeDict",
    "CheckMRVolumed",
    "CheckThickSlices",
    "CheckThickSlicesD",
    "CheckThickSlicesDict",
    "CheckThickSlicesd",
    "CheckThinSlices",
    "CheckThinSlicesD",
    "CheckThinSlicesDict",
    "CheckThinSlicesd",
    "CheckVolume",
    "CheckVolumeD",
    "CheckVolumeDict",
    "CheckVolumed",
    "FitInPlane",
    "FitInPlaneD",
    "FitInPlaneDict",
    "FitInPlaned",
    "InputCompose",
    "InsertLesions",
    "Lesion",
    "LoadProjections",
    "LoadProjectionsD",
    "LoadProjectionsDict",
    "LoadProjectionsd",
    "LoadVolume",
    "LoadVolumeD",
    "LoadVolumeDict",
    "LoadVolumed",
    "RestoreSignal",
    "RestoreSignalD",
    "RestoreSignalDict",
    "RestoreSignald",
    "ScaleByRobustMaximum",
    "ScaleByRobustMaximumD",
    "ScaleByRobustMaximumDict",
    "ScaleByRobustMaximumd",
    "SimulateMeasurement",
    "SimulateMeasurementD",
    "SimulateMeasurementDict",
    "SimulateMeasurementd",
    "TakeAsMeasured",
    "TakeAsMeasuredD",
    "TakeAsMeasuredDict",
    "TakeAsMeasuredd",
    "ThickenSlices",
    "ct_postprocessing",
    "ct_preprocessing",
    "mr_postprocessing",
    "mr_preprocessing",
    "robust_maximum",
    "thick_slice_postprocessing",
    "thick_slice_preprocessing",
]
