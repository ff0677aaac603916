# SPDX-License-Identifier: Apache-2.0
"""A network that is also shown a quick reconstruction of the measurement, slice by slice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from monai_iscs.classical.direct import DIRECT, METHODS, direct
from monai_iscs.errors import InputError
from monai_iscs.priors.denoisers import StackDenoiser
from monai_iscs.priors.slice_prior import BoundSlicePrior, SlicePrior
from monai_iscs.scans import Measurement


@dataclass(frozen=True)
class Conditioned(SlicePrior):
    """Every slice by itself, `E[x0 | x, c]`, given the same slice c of a reconstruction without a prior.

    The network takes (S, 2 C, H, W), the noisy slices and after them those of c (see `ConditionedDenoiser`), and
    returns (S, C, H, W). It must have been trained with such reconstructions of such scans: what c shows of the anatomy
    is then known from the first step on, and so are its streaks. c is not clipped; where slices are padded it is 0.

    Args:
        axis, network: as of `SlicePrior`.
        on: the method that makes c, "fdk", "helical-fbp", "cubic", "sirt" or "direct": the one that suits the operator,
            see `direct`.

    Raises:
        InputError: another method. When bound: a measurement that the method does not take.
    """

    on: str = DIRECT
    shown: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.on not in {DIRECT, *METHODS}:
            raise InputError(f"on: found {self.on!r}, expected one of {', '.join([DIRECT, *METHODS])}")

    def bind(
        self, networks: Mapping[str, StackDenoiser], measurement: Measurement, generator: torch.Generator
    ) -> BoundConditioned:
        network = self.fitting_network(networks, measurement)
        method = direct if self.on == DIRECT else METHODS[self.on]
        return BoundConditioned(self, network, generator, method(measurement).to(measurement.data))


class BoundConditioned(BoundSlicePrior):
    """The slices of one volume, with those of its quick reconstruction (C, X, Y, Z)."""

    def __init__(
        self, prior: Conditioned, network: StackDenoiser, generator: torch.Generator, condition: Tensor
    ) -> None:
        super().__init__(prior, network, generator)
        self.condition = condition

    def mirrored(self, x: Tensor, sigma: float, axis: int) -> Tensor:
        return BoundConditioned(self.prior, self.network, self.generator, self.condition.flip(axis))(
            x.flip(axis), sigma
        ).flip(axis)

    def estimate(self, stack: Tensor, sigma: float) -> Tensor:
        condition = self.condition.movedim(self.prior.axis + 1, 0)
        (top, bottom), (left, right) = (self.padding(n) for n in condition.shape[-2:])
        return self.network(torch.cat([stack, pad(condition, (left, right, top, bottom))], dim=1), sigma)
