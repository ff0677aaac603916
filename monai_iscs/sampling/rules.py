# SPDX-License-Identifier: Apache-2.0
"""Re-noising: from the data-consistent estimate to the next sigma."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from monai_iscs.errors import InputError

if TYPE_CHECKING:
    from monai_iscs.sampling.loop import State


@dataclass(frozen=True)
class Rule(ABC):
    """Settings of a re-noising rule.

    Args:
        eta: stochasticity, 0 (deterministic) to 1.
        momentum: share of its last change that is added to an estimate before it is noised again, at least 0 and below
            1: fewer steps are then enough (Nesterov 1983; Kamilov, Mansour and Wohlberg 2017 for priors that are
            denoisers). 0 is Algorithm 1.

    Raises:
        InputError: a number out of range.
    """

    eta: float = 1.0
    momentum: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise InputError(f"eta: found {self.eta}, expected a value from 0 (deterministic) to 1 (fully stochastic)")
        if not 0 <= self.momentum < 1:
            raise InputError(f"momentum: found {self.momentum}, expected a number of at least 0 and below 1")

    @abstractmethod
    def share(self, sigma: float, sigma_next: float) -> float:
        """k, the share of new noise in a step, 0 to 1."""

    def bind(self) -> BoundRule:
        """The rule of one reconstruction."""
        return BoundRule(self)


@dataclass(frozen=True)
class DDSRule(Rule):
    """A constant share of new noise: `k = eta`.

    The rule of the DDS and DDNM papers; `DDSRule(1.0)` is that of the released ISCS code: the predicted noise is
    dropped and the estimate gets only new noise. It does not sample the prior: each step keeps only the estimate's part
    of the denoiser's uncertainty, so without a measurement and in the limit of many steps a Gaussian prior is sampled
    with (1 + sqrt(1 - k^2)) / 2 of its variance (half at k = 1). The results are biased to the mean, which is one
    reason for the rule's high PSNR. `DDIMRule` keeps the whole variance.
    """

    def share(self, sigma: float, sigma_next: float) -> float:
        return self.eta


@dataclass(frozen=True)
class DDIMRule(Rule):
    """As much new noise as the step removes: `k = eta * sqrt(1 - (sigma_next / sigma)^2)`.

    The variance exploding form of Eq. 12 (DDIM). Without a measurement and in the limit of many steps it reproduces the
    prior with its variance, for any eta. eta = 1 is the ancestral (DDPM) sampler, 0 the deterministic one.
    """

    def share(self, sigma: float, sigma_next: float) -> float:
        return self.eta * math.sqrt(1 - (sigma_next / sigma) ** 2)


class BoundRule:
    """The rule of one volume: `rule(state, sigma_next, noise)` is the next noisy volume.

    Args:
        rule: its settings.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._previous: Tensor | None = None

    def predicted_noise(self, x: Tensor, x0: Tensor, sigma: float, sigma_next: float | None) -> Tensor | None:
        """The noise that the prior found in x, (x - x0) / sigma, shaped like them; None if the rule drops it."""
        if sigma_next is None or self.rule.share(sigma, sigma_next) == 1:
            return None
        return (x - x0) / sigma

    def __call__(self, state: State, sigma_next: float, noise: Tensor) -> Tensor:
        """Take the estimate to the next sigma.

        Args:
            state: the step before.
            sigma_next: the next sigma.
            noise: new noise of unit variance, (C, X, Y, Z).
        """
        estimate = state.x0_hat
        if self._previous is not None:
            estimate = torch.lerp(self._previous, estimate, 1 + self.rule.momentum)
        self._previous = state.x0_hat if self.rule.momentum else None
        return renoise(estimate, state.eps_hat, sigma_next, noise, self.rule.share(state.sigma, sigma_next))

    def state_dict(self) -> dict[str, Any]:
        """The estimate before the last one, if the momentum needs it."""
        return {"previous": self._previous}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._previous = state["previous"]


def renoise(x0_hat: Tensor, eps_hat: Tensor | None, sigma_next: float, noise: Tensor, k: float) -> Tensor:
    """Take an estimate to the next sigma (Eq. 12 and line 10 of Algorithm 1, variance exploding form).

    `x_next = x0_hat + sigma_next * (sqrt(1 - k^2) * eps_hat + k * noise)`.

    Args:
        x0_hat: the estimate after the consistency step, any shape.
        eps_hat: the noise that the prior found in x, `(x - x0) / sigma`; None if k is 1, which drops it.
        sigma_next: the next sigma.
        noise: new noise of unit variance, shaped like the estimate.
        k: share of new noise, 0 to 1.
    """
    x_next = torch.add(x0_hat, noise, alpha=sigma_next * k)
    return x_next if eps_hat is None else x_next.add_(eps_hat, alpha=sigma_next * math.sqrt(1 - k**2))
