# SPDX-License-Identifier: Apache-2.0
"""The usual reconstruction of a measurement without a prior."""

from __future__ import annotations

from torch import Tensor

from monai_iscs.classical.cubic import cubic
from monai_iscs.classical.fdk import fdk
from monai_iscs.classical.helical_fbp import helical_fbp
from monai_iscs.classical.sirt import sirt
from monai_iscs.operators import ConeBeamProjector, LinearOperator, SliceAveraging
from monai_iscs.operators.circle import off_circle, off_helix, views_a_turn
from monai_iscs.scans import Measurement

DENSE = 16  # views a turn; see docs/projections.md
DIRECT = "direct"
METHODS = {"fdk": fdk, "cubic": cubic, "sirt": sirt, "helical-fbp": helical_fbp}


def direct(measurement: Measurement) -> Tensor:
    """Filtered backprojection of a circle or helix, interpolation between thick slices, else least squares.

    It is computed once and kept with the measurement: start, notes and preview show the same image.

    Args:
        measurement: of any operator.

    Returns:
        Volume (C, X, Y, Z), not to be changed in place.

    Raises:
        InputError: as `fdk`, `helical_fbp`, `cubic` and `sirt` do.
    """
    if DIRECT not in measurement.kept:
        measurement.kept[DIRECT] = METHODS[direct_method(measurement.operator)](measurement)
    return measurement.kept[DIRECT]


def direct_method(operator: LinearOperator) -> str:
    """The name of the method that `direct` chooses, a key of `METHODS`.

    A cone-beam scan with upright detectors is for FDK where its source moves on a circle or an arc and the detectors
    are flat, and for `helical_fbp` on helices, and circles with curved detectors, unless they have so few views a turn
    that its streaks are worse than SIRT's blur. The rest is for SIRT.
    """
    _, operator = operator.factored()
    if isinstance(operator, SliceAveraging):
        return "cubic"
    if not isinstance(operator, ConeBeamProjector):
        return "sirt"
    scan, grid = operator.geometry.along(operator.grid), operator.grid.straight
    if not scan.is_upright:
        return "sirt"
    if not scan.is_curved and off_circle(scan, grid.center) is None:
        return "fdk"
    dense = views_a_turn(scan, grid.center) >= DENSE and off_helix(scan, grid.center) is None
    return "helical-fbp" if dense else "sirt"
