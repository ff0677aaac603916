# SPDX-License-Identifier: Apache-2.0
"""The usual reconstruction of a measurement without a prior."""

from __future__ import annotations

from torch import Tensor

from monai_iscs.classical.cubic import cubic
from monai_iscs.classical.fdk import fdk
from monai_iscs.classical.sirt import sirt
from monai_iscs.operators import ConeBeamProjector, LinearOperator, SliceAveraging
from monai_iscs.operators.circle import off_circle
from monai_iscs.scans import Measurement

METHODS = {"fdk": fdk, "cubic": cubic, "sirt": sirt}


def direct(measurement: Measurement) -> Tensor:
    """Filtered backprojection of a circle, interpolation between thick slices, else least squares.

    Args:
        measurement: of any operator.

    Returns:
        Volume (C, X, Y, Z).

    Raises:
        InputError: as `fdk`, `cubic` and `sirt` do.
    """
    return METHODS[direct_method(measurement.operator)](measurement)


def direct_method(operator: LinearOperator) -> str:
    """The name of the method that `direct` chooses, "fdk", "cubic" or "sirt".

    A cone-beam scan is for FDK where its source moves on a circle or an arc, and its detectors are upright; helices and
    other paths are for SIRT.
    """
    _, operator = operator.factored()
    if isinstance(operator, SliceAveraging):
        return "cubic"
    if not isinstance(operator, ConeBeamProjector):
        return "sirt"
    scan, grid = operator.geometry.along(operator.grid), operator.grid.straight
    return "fdk" if scan.is_upright and not scan.is_curved and off_circle(scan, grid.center) is None else "sirt"
