# SPDX-License-Identifier: Apache-2.0
"""Reconstruction without a prior: each method takes a `Measurement` and returns a volume (C, X, Y, Z)."""

from __future__ import annotations

from monai_iscs.classical.admm_tv import ADMMTV, admm_tv
from monai_iscs.classical.cubic import cubic
from monai_iscs.classical.direct import direct
from monai_iscs.classical.fdk import fdk
from monai_iscs.classical.helical_fbp import helical_fbp
from monai_iscs.classical.sirt import sirt

__all__ = ["ADMMTV", "admm_tv", "cubic", "direct", "fdk", "helical_fbp", "sirt"]
