# SPDX-License-Identifier: Apache-2.0
"""A network for three slices as the prior of a volume (DiffusionBlend++)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.priors.denoisers import StackDenoiser
from monai_iscs.priors.slice_prior import BoundSlicePrior, SlicePrior
from monai_iscs.scans import Measurement

SIZE = 3  # slices of a group


@dataclass(frozen=True)
class Triplets(SlicePrior):
    """Three slices at a time, in other groups at each call (DiffusionBlend++, Song et al. 2024, Algorithm 1).

    The network sees how neighbours belong together, and is called once for three slices. In every other call the groups
    are neighbours {i, i + 1, i + 2}, from a random first slice on; else they are {i, i + jump, i + 2 jump} within runs
    of `3 jump` slices, so that what a group cannot see is seen by the next call's. Slices that no whole group covers
    are estimated in groups of neighbours that overlap others.

    The network takes (S, 3 C + 1, H, W): three noisy slices with their channels, and the natural logarithm of their
    distance in mm as a channel (see `ConditionedDenoiser`); it returns (S, 3 C, H, W). The paper's network is told
    instead whether the slices are neighbours, whatever their distance.

    Args:
        axis, network: as of `SlicePrior`.
        jump: distance of the slices of a group in every other call, in slices; 1: always neighbours.

    Raises:
        InputError: a jump below 1. When bound: fewer than three slices.
    """

    jump: int = 3
    shown: ClassVar[int] = SIZE
    conditions: ClassVar[int] = 1
    label: ClassVar[str] = "DiffusionBlend"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.jump, bool) or not isinstance(self.jump, int) or self.jump < 1:
            raise InputError(f"jump: found {self.jump!r}, expected a whole number of at least 1")

    def bind(
        self, networks: Mapping[str, StackDenoiser], measurement: Measurement, generator: torch.Generator
    ) -> BoundTriplets:
        slices = measurement.operator.domain_shape[self.axis]
        if slices < SIZE:
            raise InputError(f"measurement: found {slices} slices, expected at least {SIZE}, which this prior takes")
        network = self.fitting_network(networks, measurement)
        return BoundTriplets(self, network, generator, measurement.grid.spacing[self.axis])


class BoundTriplets(BoundSlicePrior):
    """The slices of one volume, three at a time."""

    def __init__(self, prior: Triplets, network: StackDenoiser, generator: torch.Generator, spacing: float) -> None:
        super().__init__(prior, network, generator)
        self.spacing, self.turn = spacing, 0

    def estimate(self, stack: Tensor, sigma: float) -> Tensor:
        offset = int(torch.randint(SIZE * self.prior.jump, (), generator=self.generator))
        groups = list(partition(len(stack), self.prior.jump if self.turn % 2 else 1, offset))
        self.turn += 1
        members = torch.tensor(groups, device=stack.device)
        gaps = stack.new_tensor([math.log((group[1] - group[0]) * self.spacing) for group in groups])
        planes = gaps[:, None, None, None].expand(-1, 1, *stack.shape[-2:])
        found = self.network(torch.cat([stack[members].flatten(1, 2), planes], dim=1), sigma)
        x0 = torch.empty_like(stack)
        for group, estimate in zip(groups, found.unflatten(1, (SIZE, -1)), strict=True):
            x0[list(group)] = estimate  # one after the other: some overlap
        return x0

    def state_dict(self) -> dict[str, Any]:
        """The state of the random numbers, and the number of calls."""
        return {**super().state_dict(), "turn": self.turn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        super().load_state_dict(state)
        self.turn = state["turn"]


def partition(slices: int, jump: int, offset: int) -> Iterator[tuple[int, int, int]]:
    """Groups of three slices that cover all; those that only fill gaps come first.

    Args:
        slices: their number, at least 3.
        jump: distance of the slices of a group.
        offset: where the runs of `3 jump` slices begin, counted from any of their first slices.
    """
    run = SIZE * jump
    firsts = range(offset % run, slices - run + 1, run)
    whole = [(first + k, first + k + jump, first + k + 2 * jump) for first in firsts for k in range(jump)]
    missing = sorted(set(range(slices)).difference(*whole))
    while missing:
        first = min(missing[0], slices - SIZE)
        yield first, first + 1, first + 2
        missing = [index for index in missing if index > first + 2]
    yield from whole
