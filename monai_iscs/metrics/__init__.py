# SPDX-License-Identifier: Apache-2.0
"""MONAI metrics that follow the authors' evaluation: per view, between neighbouring slices, and against the data.

And what a physicist asks of an image: noise power, modulation transfer, contrast of lesions, Fourier ring correlation.
"""

from __future__ import annotations

from monai_iscs.metrics.data_residual import DataResidual, data_residual, residual_of_views
from monai_iscs.metrics.filled_in import filled_in, null_space_part
from monai_iscs.metrics.intervals import LEVEL, Intervals, body_mask, conformal_factor, coverage
from monai_iscs.metrics.lesions import measure_lesions
from monai_iscs.metrics.lpips import SliceLPIPS, ViewLPIPS
from monai_iscs.metrics.modulation import modulation_transfer
from monai_iscs.metrics.noise_power import noise_power
from monai_iscs.metrics.per_view import VIEWS, ViewPSNR, ViewSSIM, psnr_per_slice, ssim_per_slice
from monai_iscs.metrics.ring_correlation import agreeing_frequencies, ring_correlation
from monai_iscs.metrics.slice_difference import SliceDifference, SliceDifferenceGap, slice_difference
from monai_iscs.metrics.summary import summarise

__all__ = [
    "LEVEL",
    "VIEWS",
    "DataResidual",
    "Intervals",
    "SliceDifference",
    "SliceDifferenceGap",
    "SliceLPIPS",
    "ViewLPIPS",
    "ViewPSNR",
    "ViewSSIM",
    "agreeing_frequencies",
    "body_mask",
    "conformal_factor",
    "coverage",
    "data_residual",
    "filled_in",
    "measure_lesions",
    "modulation_transfer",
    "noise_power",
    "null_space_part",
    "psnr_per_slice",
    "residual_of_views",
    "ring_correlation",
    "slice_difference",
    "ssim_per_slice",
    "summarise",
]
