# SPDX-License-Identifier: Apache-2.0
"""Priors around priors: mirrored, with a larger sigma, without negative values."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.priors.denoisers import StackDenoiser
from monai_iscs.priors.slice_prior import BoundPrior, Prior, mirrored
from monai_iscs.scans import Measurement
from monai_iscs.stateful import Stateful


@dataclass(frozen=True)
class WrappedPrior(Prior):
    """A prior around another one of the same slices.

    Args:
        prior: the inner prior.
    """

    prior: Prior

    @property
    def axis(self) -> int:
        """Along which the slices are stacked."""
        return self.prior.axis

    @property
    def axes(self) -> tuple[int, ...]:
        """That of each call, in turn."""
        return self.prior.axes

    @property
    def lower_bound(self) -> float:
        """Lowest possible value."""
        return self.prior.lower_bound

    @property
    def networks(self) -> tuple[str, ...]:
        return self.prior.networks

    @property
    def label(self) -> str:
        """The inner prior's."""
        return self.prior.label

    def bind(
        self, networks: Mapping[str, StackDenoiser], measurement: Measurement, generator: torch.Generator
    ) -> BoundWrapper:
        return BoundWrapper(self, self.prior.bind(networks, measurement, generator))

    @abstractmethod
    def call(self, inner: BoundPrior, x: Tensor, sigma: float, turn: int) -> Tensor:
        """Call the inner prior, for the turn-th time, counted from 0."""


class BoundWrapper:
    """A wrapper with a bound inner prior; it counts its calls."""

    def __init__(self, wrapper: WrappedPrior, inner: BoundPrior) -> None:
        self.wrapper, self.inner, self.turn = wrapper, inner, 0

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """The expected clean volume, shaped like `x`."""
        x0 = self.wrapper.call(self.inner, x, sigma, self.turn)
        self.turn += 1
        return x0

    def mirrored(self, x: Tensor, sigma: float, axis: int) -> Tensor:
        """The same for the mirrored volume, mirrored back, see `mirrored`."""

        def inner(x: Tensor, sigma: float) -> Tensor:
            return mirrored(self.inner, x, sigma, axis)

        x0 = self.wrapper.call(inner, x, sigma, self.turn)
        self.turn += 1
        return x0

    def state_dict(self) -> dict[str, Any]:
        """The number of calls, and the inner prior's state."""
        inner = self.inner.state_dict() if isinstance(self.inner, Stateful) else None
        return {"turn": self.turn, "inner": inner}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.turn = state["turn"]
        if state["inner"] is not None:
            self.inner.load_state_dict(state["inner"])


@dataclass(frozen=True)
class Mirrored(WrappedPrior):
    """Calls the prior with the mirrored volume in every other step, so that its bias averages out at no cost.

    The rotating self-ensemble of plug-and-play methods; for a prior that was also trained on mirrored slices.

    Args:
        prior: the inner prior.
        mirror: axis of the volume to mirror, in the slices' plane; 0 is left to right.

    Raises:
        InputError: another axis, or that of the slices.
    """

    mirror: int = 0

    def __post_init__(self) -> None:
        if self.mirror not in {0, 1, 2} - {self.axis}:
            raise InputError(f"mirror: found axis {self.mirror!r}, expected 0, 1 or 2, but not the slices' {self.axis}")

    def call(self, inner: BoundPrior, x: Tensor, sigma: float, turn: int) -> Tensor:
        if turn % 2 == 0:
            return inner(x, sigma)
        return mirrored(inner, x, sigma, self.mirror + 1)


@dataclass(frozen=True)
class Overstated(WrappedPrior):
    """Calls the prior with a larger sigma than that of the added noise.

    The prior must remove not only the noise of sigma but also the estimate's own error, which is about as large; with a
    larger sigma it leaves less of both. 1 is correct for an exact estimate, and as in the papers.

    Args:
        prior: the inner prior.
        factor: the prior gets `factor * sigma`, at least 1.

    Raises:
        InputError: a factor below 1.
    """

    factor: float = 1.0

    def __post_init__(self) -> None:
        if not self.factor >= 1:
            raise InputError(f"factor: found {self.factor!r}, expected a number of at least 1")

    def call(self, inner: BoundPrior, x: Tensor, sigma: float, turn: int) -> Tensor:
        return inner(x, self.factor * sigma)


@dataclass(frozen=True)
class NonNegative(WrappedPrior):
    """Keeps the prior's estimates and the result at or above 0, like attenuation and magnitudes."""

    @property
    def lower_bound(self) -> float:
        """At least 0: the result is also clipped there."""
        return max(0.0, self.prior.lower_bound)

    def call(self, inner: BoundPrior, x: Tensor, sigma: float, turn: int) -> Tensor:
        return inner(x, sigma).clamp(min=0)
