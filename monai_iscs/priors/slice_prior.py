# SPDX-License-Identifier: Apache-2.0
"""A 2D network as the prior of a volume, slice by slice."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from monai_iscs.errors import InputError
from monai_iscs.priors.denoisers import StackDenoiser
from monai_iscs.scans import Measurement

BoundPrior = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class Prior(ABC):
    """Settings of a prior.

    Attributes:
        axis: along which its slices are stacked, 0, 1 or 2.
        axes: that of each call, in turn; the noise of the call is along it.
        lower_bound: lowest possible value: the result is clipped there.
        networks: names of the networks that it needs.
        label: of DDS with it, in tables, if that has a name of its own.
    """

    lower_bound: ClassVar[float] = -math.inf
    label: ClassVar[str] = ""

    @property
    def axes(self) -> tuple[int, ...]:
        return (self.axis,)

    @property
    def networks(self) -> tuple[str, ...]:
        return ("prior",)

    @abstractmethod
    def bind(
        self, networks: Mapping[str, StackDenoiser], measurement: Measurement, generator: torch.Generator
    ) -> BoundPrior:
        """The prior of one reconstruction: `prior(x, sigma) -> E[x0 | x]` on volumes (C, X, Y, Z).

        Args:
            networks: denoisers of stacks (S, C, H, W), by name.
            measurement: all that is known about the volume.
            generator: a CPU generator, for priors that draw random numbers.

        Raises:
            InputError: a missing network, or one for other channels.
        """


@dataclass(frozen=True)
class SlicePrior(Prior):
    """Every slice of the volume by itself.

    H and W are the other two axes in their order. If the network needs multiples of its `size_divisor`, slices are
    padded on both sides with air and noise of sigma, as in training: one map of noise for all slices.

    Subclasses give the network other images for each slice (`ask`), such as its neighbours.

    Attributes:
        shown: how many images the network gets for each slice, each with the volume's channels.
        conditions: how many further channels it gets after them.

    Args:
        axis: along which the slices are stacked.
        network: name of the denoiser.

    Raises:
        InputError: another axis.
    """

    axis: int = 2
    network: str = "prior"
    shown: ClassVar[int] = 1
    conditions: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if self.axis not in (0, 1, 2):
            raise InputError(f"axis: found {self.axis!r}, expected 0, 1 or 2")

    def bind(
        self, networks: Mapping[str, StackDenoiser], measurement: Measurement, generator: torch.Generator
    ) -> BoundSlicePrior:
        return BoundSlicePrior(self, self.fitting_network(networks, measurement), generator)

    def fitting_network(self, networks: Mapping[str, StackDenoiser], measurement: Measurement) -> StackDenoiser:
        """The prior's network.

        Raises:
            InputError: it is missing, or takes other channels.
        """
        network = find_network(networks, self.network)
        taken = getattr(network, "in_channels", None)
        images = self.shown * measurement.channels if taken is None else taken - self.conditions
        if images % self.shown or images < self.shown:
            expected = f"a multiple of {self.shown}" + (f", and {self.conditions} more" if self.conditions else "")
            raise InputError(f"network: found one that takes {taken} channels, expected {expected}")
        if images != self.shown * measurement.channels:
            raise InputError(
                f"measurement: found {measurement.channels} channels, expected {images // self.shown}, as in the "
                "prior's slices"
            )
        return network

    @property
    def networks(self) -> tuple[str, ...]:
        return (self.network,)

    def ask(self, network: StackDenoiser, stack: Tensor, sigma: float) -> Tensor:
        """The network's estimate of all slices, (S, C, H, W), from the noisy ones."""
        return network(stack, sigma)


class BoundSlicePrior:
    """The slices of one volume."""

    def __init__(self, prior: SlicePrior, network: StackDenoiser, generator: torch.Generator) -> None:
        self.prior, self.network, self.generator = prior, network, generator
        self._divisor = getattr(network, "size_divisor", 1)

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """The expected clean volume, shaped like `x`."""
        axis = self.prior.axis + 1
        stack = x.movedim(axis, 0)
        height, width = stack.shape[-2:]
        (top, bottom), (left, right) = (self.padding(n) for n in (height, width))
        if top + bottom + left + right:
            stack = pad(stack, (left, right, top, bottom))
            frame = torch.randn(stack.shape[1:], generator=self.generator, device="cpu").to(stack) * sigma
            frame[..., top : top + height, left : left + width] = 0
            stack += frame
        x0 = self.estimate(stack, sigma)[..., top : top + height, left : left + width]
        return x0.movedim(0, axis).contiguous()

    def mirrored(self, x: Tensor, sigma: float, axis: int) -> Tensor:
        """The same for the mirrored volume, mirrored back, see `mirrored`."""
        return self(x.flip(axis), sigma).flip(axis)

    def estimate(self, stack: Tensor, sigma: float) -> Tensor:
        """The expected clean slices, (S, C, H, W), from the noisy ones."""
        return self.prior.ask(self.network, stack, sigma)

    def padding(self, size: int) -> tuple[int, int]:
        """Pixels to add before and after `size`."""
        missing = -size % self._divisor
        return missing // 2, missing - missing // 2

    def state_dict(self) -> dict[str, Any]:
        """The state of the random numbers."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.generator.set_state(state["generator"])


def mirrored(prior: BoundPrior, x: Tensor, sigma: float, axis: int) -> Tensor:
    """A prior's estimate of a volume's mirror image, mirrored back.

    Args:
        prior: any; one that sees more than `x` has a method `mirrored(x, sigma, axis)`, which mirrors that, too.
        x: the volume, (C, X, Y, Z), as it is.
        sigma: of its noise.
        axis: of `x`, to mirror.
    """
    own = getattr(prior, "mirrored", None)
    return prior(x.flip(axis), sigma).flip(axis) if own is None else own(x, sigma, axis)


def find_network(networks: Mapping[str, StackDenoiser], name: str) -> StackDenoiser:
    """The network with a name.

    Raises:
        InputError: there is none.
    """
    if name not in networks:
        raise InputError(f"network: found {', '.join(networks) or 'none'}, expected one named {name!r}")
    return networks[name]
