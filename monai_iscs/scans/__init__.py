# SPDX-License-Identifier: Apache-2.0
"""Where measurements come from: simulated scans, readers of projections, noise of detectors and the estimate of it."""

from __future__ import annotations

from monai_iscs.scans.beam_hardening import correct_beam_hardening, fit_water_correction
from monai_iscs.scans.field_of_view import FieldOfView, field_of_view, seen_share
from monai_iscs.scans.measured import MeasuredScan, Placed
from monai_iscs.scans.measurement import Measurement
from monai_iscs.scans.noise_level import estimate_noise_level
from monai_iscs.scans.projections import Projections
from monai_iscs.scans.readers import read_projections, write_ct_pd, write_projections
from monai_iscs.scans.rectify import upright
from monai_iscs.scans.scan import ConeBeamScan, Scan
from monai_iscs.scans.signal_noise import GaussianNoise, RicianNoise
from monai_iscs.scans.thick_slices import ThickSliceScan

__all__ = [
    "ConeBeamScan",
    "FieldOfView",
    "GaussianNoise",
    "MeasuredScan",
    "Measurement",
    "Placed",
    "Projections",
    "RicianNoise",
    "Scan",
    "ThickSliceScan",
    "correct_beam_hardening",
    "estimate_noise_level",
    "field_of_view",
    "fit_water_correction",
    "read_projections",
    "seen_share",
    "upright",
    "write_ct_pd",
    "write_projections",
]
