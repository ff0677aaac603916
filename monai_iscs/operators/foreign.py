# SPDX-License-Identifier: Apache-2.0
"""Operators of other libraries as a `LinearOperator`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import InputError
from monai_iscs.operators.linear_operator import LinearOperator, MeasuredImages

PROBES = 2  # pairs of random vectors to test an adjoint with
MISMATCH = 1e-3  # of the operator's norm: float32 and TF32 round less


class ForeignOperator(LinearOperator):
    """Any object with a linear map and its adjoint as a `LinearOperator`.

    An adjoint that should be exact is tested when the operator is first used: `<A u, v> = <u, Aᵀ v>` up to `MISMATCH`,
    for two pairs of random vectors, always the same ones.

    Accepted, tried in this order: a pair of callables (forward, adjoint); an object with `A` and `A_adjoint` (a deepinv
    linear physics); a callable with `.T` (a tomosipo operator, a linear map of pylops' kind).

    Args:
        foreign: the object or pair.
        domain_shape: trailing shape that its forward takes.
        range_shape: trailing shape that its forward returns.
        matched: False if its adjoint is only approximate (ASTRA, tomosipo, torch-radon); it is then not tested.
        resolution: see `LinearOperator`.
        orbit_plane: see `LinearOperator`.
        images: see `LinearOperator`.
        batched: True if it takes one leading batch dimension (deepinv); False: it gets one item at a time.

    Raises:
        InputError: if none of the three forms fits. At use: if a result has another shape or is complex, or the adjoint
            does not match the forward map.
    """

    def __init__(
        self,
        foreign: Any,
        *,
        domain_shape: Sequence[int],
        range_shape: Sequence[int],
        matched: bool = True,
        resolution: Sequence[float] | None = None,
        orbit_plane: Mapping[int, float] | None = None,
        images: MeasuredImages | None = None,
        batched: bool = False,
    ) -> None:
        self._there, self._back = _directions(foreign)
        self.domain_shape, self.range_shape = tuple(domain_shape), tuple(range_shape)
        self.matched = matched
        self.resolution = None if resolution is None else tuple(resolution)
        self.orbit_plane = None if orbit_plane is None else dict(orbit_plane)
        self.images = images
        self.batched = batched
        self._tested = not matched

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._test_adjoint(x)
        return self._run(self._there, x, self.range_shape)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        self._test_adjoint(y)
        return self._run(self._back, y, self.domain_shape)

    def _test_adjoint(self, like: torch.Tensor) -> None:
        """Refuse an adjoint that does not match. Normal u and v make both ‖A u‖ and ‖Aᵀ v‖ about A's Frobenius norm."""
        if self._tested:
            return
        generator = torch.Generator().manual_seed(0)
        error = norm = 0.0
        for _ in range(PROBES):
            u, v = (torch.randn(1, *n, generator=generator).to(like) for n in (self.domain_shape, self.range_shape))
            seen, back = self._run(self._there, u, self.range_shape), self._run(self._back, v, self.domain_shape)
            error += float((seen.double() * v).sum() - (u * back.double()).sum()) ** 2
            norm += max(float(seen.double().square().sum()), float(back.double().square().sum()))
        mismatch = math.sqrt(error / norm) if error else 0.0
        if not mismatch <= MISMATCH:
            raise InputError(
                f"foreign: found an adjoint whose <u, Aᵀ v> differs from <A u, v> by {mismatch:.2g} of the operator's "
                f"norm for random u and v, expected at most {MISMATCH:g} (or matched=False, if it is approximate)"
            )
        self._tested = True

    def _run(self, direction: Callable, batch: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        # detach and clone: a foreign map may build its own graph or return its input
        batch = batch.detach()
        out = direction(batch) if self.batched else torch.stack([direction(item) for item in batch])
        if tuple(out.shape) != (len(batch), *shape):
            raise InputError(f"foreign: found a result of shape {tuple(out.shape[1:])}, expected {shape}")
        return real_tensor(out, "foreign's result").detach().to(batch, copy=True)


def _directions(foreign: Any) -> tuple[Callable, Callable]:
    if isinstance(foreign, tuple) and len(foreign) == 2 and all(callable(f) for f in foreign):
        return foreign
    if hasattr(foreign, "A") and hasattr(foreign, "A_adjoint"):
        return foreign.A, foreign.A_adjoint
    if callable(foreign) and callable(getattr(foreign, "T", None)):
        return foreign, foreign.T
    raise InputError(
        f"foreign: found {type(foreign).__name__}, expected a pair (forward, adjoint), an object with A and "
        "A_adjoint, or a callable with a callable .T"
    )
