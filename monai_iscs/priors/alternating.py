# SPDX-License-Identifier: Apache-2.0
"""Two priors in turn, such as networks for slices along two axes (TPDM)."""

from __future__ import annotations

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
class Alternating(Prior):
    """The main prior, and in every n-th step another one (TPDM, Lee et al. 2023, Algorithm 1).

    With networks for slices of two perpendicular axes neighbouring slices of either are seen together. `Mirrored` is
    for each of the two: around both, with an even `every`, it would always mirror the same one. Correlated noise is
    along the slices of the prior whose turn it is: in the other's slices it would be streaks, not the white noise that
    its network was trained on.

    Args:
        main: the prior; corrections are smoothed along its slices.
        other: that of every `every`-th call, such as of slices along another axis.
        every: at least 2, the paper's: the other prior in every second step.

    Raises:
        InputError: another number.
    """

    main: Prior
    other: Prior
    every: int = 2
    label = "TPDM"

    def __post_init__(self) -> None:
        if isinstance(self.every, bool) or not isinstance(self.every, int) or self.every < 2:
            raise InputError(f"every: found {self.every!r}, expected a whole number of at least 2")

    @property
    def axis(self) -> int:
        """That of the main prior."""
        return self.main.axis

    @property
    def axes(self) -> tuple[int, ...]:
        """That of each call, in turn."""
        return (*[self.main.axis] * (self.every - 1), self.other.axis)

    @property
    def lower_bound(self) -> float:
        """That of both."""
        return min(self.main.lower_bound, self.other.lower_bound)

    @property
    def networks(self) -> tuple[str, ...]:
        return (*self.main.networks, *self.other.networks)

    def bind(
        self, networks: Mapping[str, StackDenoiser], measurement: Measurement, generator: torch.Generator
    ) -> BoundAlternating:
        main, other = (prior.bind(networks, measurement, generator) for prior in (self.main, self.other))
        return BoundAlternating(main, other, self.every)


class BoundAlternating:
    """Two bound priors; it counts its calls."""

    def __init__(self, main: BoundPrior, other: BoundPrior, every: int) -> None:
        self.bound, self.every, self.turn = (main, other), every, 0

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """The expected clean volume, shaped like `x`, by the prior whose turn it is."""
        return self._next()(x, sigma)

    def mirrored(self, x: Tensor, sigma: float, axis: int) -> Tensor:
        """The same for the mirrored volume, mirrored back, see `mirrored`."""
        return mirrored(self._next(), x, sigma, axis)

    def _next(self) -> BoundPrior:
        self.turn += 1
        return self.bound[self.turn % self.every == 0]

    def state_dict(self) -> dict[str, Any]:
        """The number of calls, and the priors' states."""
        states = [prior.state_dict() if isinstance(prior, Stateful) else None for prior in self.bound]
        return {"turn": self.turn, "main": states[0], "other": states[1]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.turn = state["turn"]
        for prior, inner in zip(self.bound, (state["main"], state["other"]), strict=True):
            if inner is not None:
                prior.load_state_dict(inner)
