# SPDX-License-Identifier: Apache-2.0
"""Starting images: what the sampler's first noise is added to, from the measurement alone."""

from __future__ import annotations

from torch import Tensor

from monai_iscs.classical.methods import cubic_volume, fdk_volume
from monai_iscs.errors import InputError
from monai_iscs.operators import LinearOperator


def pseudo_inverse_start(measurement: Tensor, operator: LinearOperator) -> Tensor:
    """A⁺ y of an operator that knows its pseudo-inverse, as `SliceAveraging` does.

    Args:
        measurement: (C, *operator.range_shape).
        operator: the scanner.

    Returns:
        Volume (C, X, Y, Z).

    Raises:
        InputError: the operator does not know its pseudo-inverse.
    """
    if operator.pseudo_inverse is None:
        raise InputError(
            f"the pseudo-inverse start was asked for {operator.name}, expected an operator that knows its "
            "pseudo-inverse, as SliceAveraging does"
        )
    return operator.pseudo_inverse(measurement)


# The classical methods that are starts as they are, under the names that configs know.
fdk_start, cubic_start = fdk_volume, cubic_volume

STARTS = {"zeros": None, "fdk": fdk_start, "cubic": cubic_start}
