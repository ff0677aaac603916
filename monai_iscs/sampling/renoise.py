# SPDX-License-Identifier: Apache-2.0
"""Re-noising: from the data-consistent estimate back to the next noise level."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from monai_iscs.errors import InputError


@dataclass(frozen=True)
class _Rule:
    eta: float

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise InputError(f"eta is {self.eta}, expected a value from 0 (deterministic) to 1 (fully stochastic)")


@dataclass(frozen=True)
class DDSRule(_Rule):
    """A constant share of new noise: `k = eta`.

    The rule of the DDS and DDNM papers; `DDSRule(1.0)` is what the released ISCS code runs: the predicted noise is
    dropped and the estimate is noised afresh. It does not sample the prior: each step keeps only the estimate's part
    of what the denoiser left uncertain, so without a measurement and in the limit of many steps a Gaussian prior
    comes out with (1 + sqrt(1 - k^2)) / 2 of its variance (half at k = 1). The results lean towards the mean, which
    is one reason why the rule scores well in PSNR. `DDIMRule` keeps the whole variance.

    Args:
        eta: share k of new noise, 0 to 1. 0 is the deterministic sampler.
    """

    def __call__(self, sigma: float, sigma_next: float) -> float:
        return self.eta


@dataclass(frozen=True)
class DDIMRule(_Rule):
    """Just as much new noise as the step removes: `k = eta * sqrt(1 - (sigma_next / sigma)^2)`.

    The variance exploding form of Eq. 12 (DDIM). Without a measurement it reproduces the prior, variance included,
    for any eta as the steps grow. eta = 1 is the ancestral (DDPM) sampler, 0 the deterministic one.

    Args:
        eta: stochasticity, 0 to 1.
    """

    def __call__(self, sigma: float, sigma_next: float) -> float:
        return self.eta * math.sqrt(1 - (sigma_next / sigma) ** 2)


def renoise(x0_hat: Tensor, eps_hat: Tensor | None, sigma_next: float, noise: Tensor, k: float) -> Tensor:
    """Take the estimate to the next noise level (Eq. 12 and line 10 of Algorithm 1, variance exploding form).

    `x_next = x0_hat + sigma_next * (sqrt(1 - k^2) * eps_hat + k * noise)`.

    Args:
        x0_hat: the estimate after the consistency step, stack (S, C, H, W).
        eps_hat: the noise that the prior saw in x, `(x - x0) / sigma`; None where k is 1, which drops it.
        sigma_next: level to go to.
        noise: new noise of unit variance, shaped like the stack.
        k: share of new noise, 0 to 1.
    """
    x_next = torch.add(x0_hat, noise, alpha=sigma_next * k)
    return x_next if eps_hat is None else x_next.add_(eps_hat, alpha=sigma_next * math.sqrt(1 - k**2))
