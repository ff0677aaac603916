# SPDX-License-Identifier: Apache-2.0
"""MONAI metrics that follow the authors' evaluation: per view, slice by slice, and between neighbouring slices."""

from __future__ import annotations

from monai_iscs.metrics.per_view import VIEWS, ViewPSNR, ViewSSIM, psnr_per_slice, ssim_per_slice
from monai_iscs.metrics.slice_difference import SliceDifference, SliceDifferenceGap, slice_difference
from monai_iscs.metrics.summary import summarise

__all__ = [
    "VIEWS",
    "SliceDifference",
    "SliceDifferenceGap",
    "ViewPSNR",
    "ViewSSIM",
    "psnr_per_slice",
    "slice_difference",
    "ssim_per_slice",
    "summarise",
]
