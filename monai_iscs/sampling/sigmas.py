# SPDX-License-Identifier: Apache-2.0
"""The sigmas of the sampler."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from monai_iscs.errors import InputError


@dataclass(frozen=True)
class Geometric:
    """Sigmas with a constant ratio, see `geometric_sigmas`.

    Args:
        steps: how many; each costs one evaluation of the prior.
        first: largest sigma, in the prior's units.
        last: smallest sigma.

    Raises:
        InputError: fewer than one step, or not `0 < last < first`.
    """

    steps: int = 30
    first: float = 5.0
    last: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.last < self.first < math.inf:
            raise InputError(f"last, first: found {self.last} and {self.first}, expected 0 < last < first")
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise InputError(f"steps: found {self.steps!r}, expected a whole number of at least 1")

    def levels(self) -> list[float]:
        """The sigmas, decreasing."""
        return check_sigmas(geometric_sigmas(self.steps, sigma_max=self.first, sigma_min=self.last))


def geometric_sigmas(steps: int, *, sigma_max: float, sigma_min: float) -> Tensor:
    """Sigmas with a constant ratio, from the largest to the smallest, both included.

    `sigma_i = sigma_max * (sigma_min / sigma_max) ** (i / (steps - 1))`, the variance exploding schedule of the
    released ISCS code.

    Args:
        steps: how many, at least 1; each costs one evaluation of the prior. With one step it is `sigma_max`.
        sigma_max: largest sigma, in the prior's units.
        sigma_min: smallest sigma, above 0 and below `sigma_max`.

    Returns:
        float32 tensor of `steps` decreasing sigmas.

    Raises:
        InputError: fewer than one step, or not `0 < sigma_min < sigma_max`.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise InputError(f"steps: found {steps!r}, expected a whole number of at least 1")
    if not 0 < sigma_min < sigma_max < math.inf:
        raise InputError(f"sigma_min, sigma_max: found {sigma_min} and {sigma_max}, expected 0 < sigma_min < sigma_max")
    exponents = torch.linspace(0, 1, steps, dtype=torch.float64)
    return (sigma_max * (sigma_min / sigma_max) ** exponents).float()


def check_sigmas(sigmas: Tensor | Sequence[float]) -> list[float]:
    """Return sigmas as a list of floats.

    Raises:
        InputError: no sigma, or sigmas that are not finite, positive and strictly decreasing.
    """
    levels = [float(sigma) for sigma in sigmas]
    falling = all(sigma > following for sigma, following in pairwise(levels))
    if not levels or not falling or not all(0 < sigma < math.inf for sigma in levels):
        raise InputError(f"sigmas: found {levels}, expected at least one, positive and strictly decreasing")
    return levels
