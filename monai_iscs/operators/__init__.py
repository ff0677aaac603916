# SPDX-License-Identifier: Apache-2.0
"""What the scanner does: linear algebra and the cone-beam projector."""

from __future__ import annotations

from monai_iscs.operators.cone_beam import ConeBeamProjector
from monai_iscs.operators.conjugate_gradient import conjugate_gradient
from monai_iscs.operators.foreign import ForeignOperator
from monai_iscs.operators.geometry import ConeBeamGeometry
from monai_iscs.operators.linear_operator import LinearOperator, operator_norm
from monai_iscs.operators.sirt import SIRT
from monai_iscs.operators.smoothing import GaussianSmoothing

__all__ = [
    "SIRT",
    "ConeBeamGeometry",
    "ConeBeamProjector",
    "ForeignOperator",
    "GaussianSmoothing",
    "LinearOperator",
    "conjugate_gradient",
    "operator_norm",
]
