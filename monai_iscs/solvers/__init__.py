# SPDX-License-Identifier: Apache-2.0
"""Solving A x = y: conjugate gradients, SIRT, the alternating direction method and the discrepancy principle."""

from __future__ import annotations

from monai_iscs.solvers.admm import ADMM, check_matched, voxel_weight
from monai_iscs.solvers.conjugate_gradient import conjugate_gradient
from monai_iscs.solvers.discrepancy import Discrepancy
from monai_iscs.solvers.preconditioner import Preconditioner, smoothing_along
from monai_iscs.solvers.sirt import SIRT

__all__ = [
    "ADMM",
    "SIRT",
    "Discrepancy",
    "Preconditioner",
    "check_matched",
    "conjugate_gradient",
    "smoothing_along",
    "voxel_weight",
]
