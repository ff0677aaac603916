# SPDX-License-Identifier: Apache-2.0
"""Least squares without a prior."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from monai_iscs.classical.unscaled import unscaled
from monai_iscs.scans import Measurement
from monai_iscs.solvers import SIRT


def sirt(measurement: Measurement, *, non_negative: bool = True, **settings: Any) -> Tensor:
    """SIRT from zero.

    Args:
        measurement: of any operator whose entries are not negative.
        non_negative: no value below 0.
        **settings: other arguments of `SIRT`, such as `iterations`.

    Returns:
        Volume (C, X, Y, Z).

    Raises:
        InputError: an operator with negative entries, or a setting out of range.
    """
    data, operator = unscaled(measurement.weighted)
    return SIRT(operator, non_negative=non_negative, **settings)(data)
