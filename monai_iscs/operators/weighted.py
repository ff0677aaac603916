# SPDX-License-Identifier: Apache-2.0
"""An operator whose measurements count differently."""

from __future__ import annotations

import torch

from monai_iscs.errors import InputError
from monai_iscs.operators.linear_operator import LinearOperator


class WeightedOperator(LinearOperator):
    """√W A: least squares with it, and with √W y, are least squares in which each measured value has its weight.

    Args:
        operator: A.
        weights: the diagonal of W, of A's range shape, at least 0.

    Raises:
        InputError: weights of another shape, or negative ones.
    """

    def __init__(self, operator: LinearOperator, weights: torch.Tensor) -> None:
        if tuple(weights.shape) != tuple(operator.range_shape):
            raise InputError(f"weights: found shape {tuple(weights.shape)}, expected {tuple(operator.range_shape)}")
        if not bool((weights >= 0).all()):
            raise InputError("weights: found negative ones or NaN, expected at least 0")
        self.operator, self.weights = operator, weights
        self.domain_shape, self.range_shape = operator.domain_shape, operator.range_shape
        self.matched, self.resolution, self.images = operator.matched, operator.resolution, operator.images
        self.orbit_plane = operator.orbit_plane
        self._roots: dict[tuple[torch.device, torch.dtype], torch.Tensor] = {}

    def roots(self, like: torch.Tensor) -> torch.Tensor:
        """√w on the device of a tensor, of its type."""
        key = (like.device, like.dtype)
        if key not in self._roots:
            self._roots[key] = self.weights.to(like).sqrt()
        return self._roots[key]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.operator.forward(x).mul_(self.roots(x))

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self.operator.adjoint(self.roots(y) * y)

    def gram(self, x: torch.Tensor) -> torch.Tensor:
        return self.operator.adjoint(self.operator.forward(x).mul_(self.roots(x)).mul_(self.roots(x)))

    def rows(self, start: int, stop: int) -> LinearOperator | None:
        part = self.operator.rows(start, stop)
        return None if part is None else WeightedOperator(part, self.weights[start:stop])

    def factored(self) -> tuple[float, LinearOperator]:
        factor, inner = self.operator.factored()
        return factor, self if inner is self.operator else WeightedOperator(inner, self.weights)

    @property
    def name(self) -> str:
        return self.operator.name
