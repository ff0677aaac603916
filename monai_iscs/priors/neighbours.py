# SPDX-License-Identifier: Apache-2.0
"""A network that is also shown both neighbours of each slice (DiffusionBlend)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.priors.denoisers import StackDenoiser
from monai_iscs.priors.slice_prior import BoundSlicePrior, SlicePrior
from monai_iscs.scans import Measurement


@dataclass(frozen=True)
class Neighbours(SlicePrior):
    """Every slice given its noisy neighbours, `E[x_i | x_{i-1}, x_i, x_{i+1}]` (DiffusionBlend, Song et al. 2024).

    The paper's first method (its section 3.2, with one neighbour on each side); its second, DiffusionBlend++, is
    `Triplets`. One network call a slice, as without neighbours.

    The network takes (S, 3 C + 1, H, W): the noisy slices, those before them, those after them, and the natural
    logarithm of their distance in mm as a channel (see `NeighbourDenoiser`); it returns (S, C, H, W). The first slice
    has its one neighbour twice, and so has the last. In the training the noise of neighbours is independent: of noise
    that they share (ISCS) the network removes less.

    Args:
        axis, network: as of `SlicePrior`.

    Raises:
        InputError: when bound: a single slice.
    """

    shown: ClassVar[int] = 3
    conditions: ClassVar[int] = 1
    label: ClassVar[str] = "DiffusionBlend"

    def bind(
        self, networks: Mapping[str, StackDenoiser], measurement: Measurement, generator: torch.Generator
    ) -> BoundNeighbours:
        if measurement.operator.domain_shape[self.axis] < 2:
            raise InputError("measurement: found 1 slice, expected at least 2, for a prior of neighbours")
        network = self.fitting_network(networks, measurement)
        return BoundNeighbours(self, network, generator, measurement.grid.spacing[self.axis])


class BoundNeighbours(BoundSlicePrior):
    """The slices of one volume, each with its neighbours."""

    def __init__(self, prior: Neighbours, network: StackDenoiser, generator: torch.Generator, spacing: float) -> None:
        super().__init__(prior, network, generator)
        self.distance = math.log(spacing)

    def estimate(self, stack: Tensor, sigma: float) -> Tensor:
        before = torch.cat([stack[1:2], stack[:-1]])
        after = torch.cat([stack[1:], stack[-2:-1]])
        planes = stack.new_full((1, 1, 1, 1), self.distance).expand(len(stack), 1, *stack.shape[-2:])
        return self.network(torch.cat([stack, before, after, planes], dim=1), sigma)
