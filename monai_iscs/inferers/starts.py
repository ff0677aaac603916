# SPDX-License-Identifier: Apache-2.0
"""Starting images: what the sampler's first noise is added to, from the measurement alone."""

from __future__ import annotations

from torch import Tensor

from monai_iscs.baselines.fdk import fdk
from monai_iscs.errors import InputError
from monai_iscs.operators import LinearOperator


def fdk_start(measurement: Tensor, operator: LinearOperator) -> Tensor:
    """Filtered backprojection of a cone-beam measurement.

    Args:
        measurement: projections (C, view, v, u).
        operator: a `ConeBeamProjector`, also a scaled one; the volume comes in the units of its domain.

    Returns:
        Volume (C, X, Y, Z).

    Raises:
        InputError: the operator has no cone-beam geometry.
    """
    scale = 1.0
    while hasattr(operator, "scalar"):
        scale, operator = scale * operator.scalar, operator.parent
    if not hasattr(operator, "geometry"):
        raise InputError(f"the FDK start was asked for {type(operator).__name__}, expected a ConeBeamProjector")
    return fdk(measurement / scale, operator.geometry)


STARTS = {"zeros": None, "fdk": fdk_start}
