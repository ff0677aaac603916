# SPDX-License-Identifier: Apache-2.0
"""The usual reconstruction of a measurement without a prior."""

from __future__ import annotations

from torch import Tensor

from monai_iscs.classical.cubic import cubic
from monai_iscs.classical.fdk import fdk
from monai_iscs.classical.sirt import sirt
from monai_iscs.operators import ConeBeamProjector, SliceAveraging
from monai_iscs.scans import Measurement


def direct(measurement: Measurement) -> Tensor:
    """Filtered backprojection of cone-beam projections, interpolation between thick slices, else least squares.

    Args:
        measurement: of any operator.

    Returns:
        Volume (C, X, Y, Z).

    Raises:
        InputError: as `fdk`, `cubic` and `sirt` do.
    """
    _, operator = measurement.operator.factored()
    if isinstance(operator, ConeBeamProjector):
        return fdk(measurement)
    if isinstance(operator, SliceAveraging):
        return cubic(measurement)
    return sirt(measurement)
