# SPDX-License-Identifier: Apache-2.0
"""One volume on several processes with a GPU each: they share the prior's slices and the scanner's views.

Every process computes everything else from the same numbers, including noise, so that all have the same volume. The
devices must be equal: different ones round differently, and may do one iteration more or less than the others.

One process sums the views in another order than two. The difference is rounding in the last bit, but conjugate
gradients amplify it, like a change of the measurement by one unit in the last place: to some 1e-3 of the volume's range
after one step of 20 iterations, and to a few times that after all steps (`benchmarks/processes.py`).
"""

from __future__ import annotations

import ignite.distributed as idist
from torch import Tensor

from monai_iscs.operators import LinearOperator
from monai_iscs.priors.batches import SliceBatches


def own_share(length: int) -> tuple[int, int]:
    """Start and stop of this process's share of a length; the last processes may get less, or nothing."""
    size = -(-length // idist.get_world_size())
    start = min(idist.get_rank() * size, length)
    return start, min(start + size, length)


def gather(share: Tensor, length: int) -> Tensor:
    """All processes' shares (own share, ...) one after the other, (length, ...), on every process."""
    size = -(-length // idist.get_world_size())
    filled = share.new_zeros(size, *share.shape[1:])
    filled[: len(share)] = share
    return idist.all_gather(filled)[:length]


class SharedDenoiser:
    """A denoiser of stacks: every process denoises its share of the slices."""

    def __init__(self, denoiser: SliceBatches) -> None:
        self.denoiser = denoiser
        self.size_divisor, self.in_channels = denoiser.size_divisor, denoiser.in_channels

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        start, stop = own_share(len(x))
        own = x[start:stop] if stop > start else x[:1]  # without a share, denoise one slice for the result's shape
        return gather(self.denoiser(own, sigma)[: stop - start], len(x))


class SharedOperator(LinearOperator):
    """A scanner: every process computes its share along the first axis of the measurement.

    Every process has the whole measurement, so that a pseudo-inverse is not shared.

    `gram` (AᵀA, which conjugate gradients use) and `adjoint` sum volumes over the processes once; `forward` gathers the
    measurement.

    Args:
        operator: the whole scanner; one that has `rows`.
    """

    def __init__(self, operator: LinearOperator) -> None:
        self.domain_shape, self.range_shape = operator.domain_shape, operator.range_shape
        self.matched, self.resolution, self.images = operator.matched, operator.resolution, operator.images
        self.orbit_plane = operator.orbit_plane
        self.operator, self.pseudo_inverse = operator, operator.pseudo_inverse
        self._start, self._stop = own_share(operator.range_shape[0])
        self._own = operator.rows(self._start, self._stop) if self._stop > self._start else None

    def forward(self, x: Tensor) -> Tensor:
        own = x.new_zeros(len(x), 0, *self.range_shape[1:]) if self._own is None else self._own.forward(x)
        return gather(own.movedim(1, 0), self.range_shape[0]).movedim(0, 1)

    def adjoint(self, y: Tensor) -> Tensor:
        own = y[:, self._start : self._stop]
        return self._sum(None if self._own is None else self._own.adjoint(own), y)

    def gram(self, x: Tensor) -> Tensor:
        return self._sum(None if self._own is None else self._own.gram(x), x)

    def rows(self, start: int, stop: int) -> LinearOperator | None:
        return share_operator(self.operator.rows(start, stop))

    def factored(self) -> tuple[float, LinearOperator]:
        return self.operator.factored()

    @property
    def name(self) -> str:
        return self.operator.name

    def _sum(self, volumes: Tensor | None, like: Tensor) -> Tensor:
        if volumes is None:
            volumes = like.new_zeros(len(like), *self.domain_shape)
        return idist.all_reduce(volumes.contiguous())


def share_operator(operator: LinearOperator) -> LinearOperator:
    """The scanner, shared by all processes; unchanged if it has no `rows`."""
    return operator if operator.rows(0, operator.range_shape[0]) is None else SharedOperator(operator)
