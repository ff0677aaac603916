# SPDX-License-Identifier: Apache-2.0
"""A measurement without the factor that its operator has."""

from __future__ import annotations

from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.operators import LinearOperator
from monai_iscs.scans import Measurement


def unscaled(measurement: Measurement) -> tuple[Tensor, LinearOperator]:
    """y / s and A of a measurement y = s A x, for methods that check the type of A.

    Raises:
        InputError: a factor of 0, which measures nothing.
    """
    factor, operator = measurement.operator.factored()
    if factor == 0:
        raise InputError(f"operator: found 0 times {operator.name}, expected another factor")
    return measurement.data / factor, operator
