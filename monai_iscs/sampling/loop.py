# SPDX-License-Identifier: Apache-2.0
"""The sampler: Algorithm 1 of the ISCS paper in variance exploding form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import NamedTuple

import torch
from torch import Tensor

from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import InputError
from monai_iscs.sampling.noise import SliceNoise
from monai_iscs.sampling.renoise import DDSRule, renoise
from monai_iscs.sampling.sigmas import check_sigmas

Denoiser = Callable[[Tensor, float], Tensor]
Consistency = Callable[[Tensor, float], Tensor]
Rule = Callable[[float, float], float]

FRESH_NOISE = DDSRule(1.0)


class Step(NamedTuple):
    """What a callback is told after each step.

    Attributes:
        index: number of the step, from 0.
        total: number of steps.
        sigma: noise level of the step.
        x0: the prior's estimate, stack (S, C, H, W).
        x0_hat: the estimate after the consistency step.
    """

    index: int
    total: int
    sigma: float
    x0: Tensor
    x0_hat: Tensor


def reconstruct(
    denoiser: Denoiser,
    consistency: Consistency,
    noise: SliceNoise,
    sigmas: Tensor | Sequence[float],
    start: Tensor,
    *,
    rule: Rule = FRESH_NOISE,
    momentum: float = 0.0,
    callback: Callable[[Step], None] | None = None,
) -> Tensor:
    """Reconstruct a stack of slices: denoise, meet the measurement, re-noise; one step for each noise level.

    Args:
        denoiser: prior, `denoiser(x, sigma) -> E[x0 | x]` for x = x0 + sigma * n; evaluated once a step.
        consistency: `consistency(x0, sigma) -> x0_hat`, see `monai_iscs.sampling.consistency`.
        noise: slice noise of the start and of every re-noising.
        sigmas: positive, strictly decreasing noise levels, see `geometric_sigmas`.
        start: stack (S, C, H, W) to which the noise of the first level is added; computed in float32, or in float64 if
            it is.
        rule: `rule(sigma, sigma_next) -> k`, the share of new noise.
        momentum: share of its last change by which an estimate is taken further before it is noised again, at least 0
            and below 1: with it fewer steps go as far (Nesterov 1983; Kamilov, Mansour and Wohlberg 2017 for priors
            that are denoisers). 0 is Algorithm 1.
        callback: called with a `Step` after each step.

    Returns:
        The last step's data-consistent estimate, (S, C, H, W).

    Raises:
        InputError: noise levels that are not positive and strictly decreasing, another momentum, or a complex start.
    """
    start = real_tensor(start, "start")
    levels = check_sigmas(sigmas)
    check_momentum(momentum)
    previous = None
    x = torch.add(start, noise(start, levels[0]), alpha=levels[0])
    del start
    for index, (sigma, sigma_next) in enumerate(zip_longest(levels, levels[1:])):
        x0 = denoiser(x, sigma)
        k = 1.0 if sigma_next is None else rule(sigma, sigma_next)
        eps_hat = None if k == 1 else (x - x0) / sigma
        x = None  # its memory is the consistency step's
        x0_hat = consistency(x0, sigma)
        if callback is not None:
            callback(Step(index, len(levels), sigma, x0, x0_hat))
        if sigma_next is not None:
            ahead = x0_hat if previous is None else torch.lerp(previous, x0_hat, 1 + momentum)
            previous = x0_hat if momentum else None
            x = renoise(ahead, eps_hat, sigma_next, noise(x0_hat, sigma_next), k)
            del x0, x0_hat, eps_hat, ahead
    return x0_hat


def check_momentum(momentum: float) -> None:
    """Raise an `InputError` unless 0 <= momentum < 1."""
    if not 0 <= momentum < 1:
        raise InputError(f"momentum is {momentum!r}, expected a number of at least 0 and below 1")
