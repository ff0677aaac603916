# SPDX-License-Identifier: Apache-2.0
"""What the scanner does: linear algebra, the cone-beam projector and thick slices."""

from __future__ import annotations

from monai_iscs.operators.cone_beam import ConeBeamProjector, rays_of_rows
from monai_iscs.operators.differences import Differences, shrink_length, soft_threshold
from monai_iscs.operators.foreign import ForeignOperator
from monai_iscs.operators.geometry import ConeBeamGeometry
from monai_iscs.operators.linear_operator import LinearOperator, MeasuredImages, operator_norm
from monai_iscs.operators.ramp import RampFilter
from monai_iscs.operators.slice_averaging import BoxProfile, GaussianProfile, SliceAveraging
from monai_iscs.operators.smoothing import GaussianSmoothing
from monai_iscs.operators.weighted import WeightedOperator

__all__ = [
    "BoxProfile",
    "ConeBeamGeometry",
    "ConeBeamProjector",
    "Differences",
    "ForeignOperator",
    "GaussianProfile",
    "GaussianSmoothing",
    "LinearOperator",
    "MeasuredImages",
    "RampFilter",
    "SliceAveraging",
    "WeightedOperator",
    "operator_norm",
    "rays_of_rows",
    "shrink_length",
    "soft_threshold",
]
