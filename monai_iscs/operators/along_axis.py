# SPDX-License-Identifier: Apache-2.0
"""A matrix along one axis."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monai_iscs.operators.linear_operator import LinearOperator
from monai_iscs.precision import computing_in


class AlongAxis(LinearOperator):
    """A matrix applied to every line along one axis.

    Args:
        shape: of its input.
        matrix: (n, shape[axis]), float64.
        axis: of `shape`.
    """

    def __init__(self, shape: Sequence[int], matrix: Tensor, axis: int) -> None:
        self.domain_shape = tuple(shape)
        self.range_shape = (*self.domain_shape[:axis], len(matrix), *self.domain_shape[axis + 1 :])
        self.matrix, self.axis = matrix, axis
        self._made: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        return self._apply(self._like(x), x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._apply(self._like(y).T, y)

    def _apply(self, matrix: Tensor, x: Tensor) -> Tensor:
        axis = self.axis + 1
        with computing_in("float32", x.device):  # the adjoint of rounded factors would not match
            return torch.tensordot(matrix, x, dims=([1], [axis])).movedim(0, axis).contiguous()

    def _like(self, x: Tensor) -> Tensor:
        """The matrix with the type and the device of x; copied once."""
        key = (x.device, x.dtype)
        if key not in self._made:
            self._made[key] = self.matrix.to(x)
        return self._made[key]
