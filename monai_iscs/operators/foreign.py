# SPDX-License-Identifier: Apache-2.0
"""Operators of other libraries, seen as ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from monai_iscs.errors import InputError
from monai_iscs.operators.linear_operator import LinearOperator, MeasuredImages


class ForeignOperator(LinearOperator):
    """Any object with a linear map and its adjoint as a `LinearOperator`.

    Accepted, tried in this order: a pair of callables (forward, adjoint); an object with `A` and `A_adjoint` (a deepinv
    linear physics); a callable with `.T` (a tomosipo operator, a linear map of pylops' kind).

    Args:
        foreign: the object or pair.
        domain_shape: trailing shape that its forward takes.
        range_shape: trailing shape that its forward returns.
        matched: False if its adjoint is only approximate (ASTRA, tomosipo, torch-radon).
        resolution: see `LinearOperator`.
        images: see `LinearOperator`.
        batched: True if it takes one leading batch dimension (deepinv); False hands it one item at a time.

    Raises:
        InputError: if none of the three forms fits.
    """

    def __init__(
        self,
        foreign: Any,
        *,
        domain_shape: Sequence[int],
        range_shape: Sequence[int],
        matched: bool = True,
        resolution: Sequence[float] | None = None,
        images: MeasuredImages | None = None,
        batched: bool = False,
    ) -> None:
        self._there, self._back = _directions(foreign)
        self.domain_shape, self.range_shape = tuple(domain_shape), tuple(range_shape)
        self.matched = matched
        self.resolution = None if resolution is None else tuple(resolution)
        self.images = images
        self.batched = batched

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._run(self._there, x, self.range_shape)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self._run(self._back, y, self.domain_shape)

    def _run(self, direction: Callable, batch: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        # detach and clone: a foreign map may build a graph of its own or hand back its input
        batch = batch.detach()
        out = direction(batch) if self.batched else torch.stack([direction(item) for item in batch])
        if tuple(out.shape) != (len(batch), *shape):
            raise InputError(f"the foreign operator returned shape {tuple(out.shape[1:])}, expected {shape}")
        return out.detach().clone()


def _directions(foreign: Any) -> tuple[Callable, Callable]:
    if isinstance(foreign, tuple) and len(foreign) == 2 and all(callable(f) for f in foreign):
        return foreign
    if hasattr(foreign, "A") and hasattr(foreign, "A_adjoint"):
        return foreign.A, foreign.A_adjoint
    if callable(foreign) and callable(getattr(foreign, "T", None)):
        return foreign, foreign.T
    raise InputError(
        f"operator is {type(foreign).__name__}, expected a pair (forward, adjoint), an object with A and A_adjoint, "
        "or a callable with a callable .T"
    )
