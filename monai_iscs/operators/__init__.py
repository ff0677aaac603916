# SPDX-License-Identifier: Apache-2.0
"""What the scanner does: linear algebra, the cone-beam projector and thick slices."""

from __future__ import annotations

from monai_iscs.operators.admm import ADMM, check_matched, voxel_weight
from monai_iscs.operators.cone_beam import ConeBeamProjector
from monai_iscs.operators.conjugate_gradient import conjugate_gradient
from monai_iscs.operators.differences import Differences, shrink_length, soft_threshold
from monai_iscs.operators.foreign import ForeignOperator
from monai_iscs.operators.geometry import ConeBeamGeometry
from monai_iscs.operators.linear_operator import LinearOperator, MeasuredImages, operator_norm
from monai_iscs.operators.noise_level import Discrepancy, NoiseLevel, estimate_noise_level, tell_noise_level
from monai_iscs.operators.sirt import SIRT
from monai_iscs.operators.slice_averaging import BoxProfile, GaussianProfile, SliceAveraging
from monai_iscs.operators.smoothing import GaussianSmoothing

__all__ = [
    "ADMM",
    "SIRT",
    "BoxProfile",
    "ConeBeamGeometry",
    "ConeBeamProjector",
    "Differences",
    "Discrepancy",
    "ForeignOperator",
    "GaussianProfile",
    "GaussianSmoothing",
    "LinearOperator",
    "MeasuredImages",
    "NoiseLevel",
    "SliceAveraging",
    "check_matched",
    "conjugate_gradient",
    "estimate_noise_level",
    "operator_norm",
    "shrink_length",
    "soft_threshold",
    "tell_noise_level",
    "voxel_weight",
]
