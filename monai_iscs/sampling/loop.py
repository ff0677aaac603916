# SPDX-License-Identifier: Apache-2.0
"""The sampler: Algorithm 1 of the ISCS paper in variance exploding form, on volumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor

from monai_iscs.sampling.dual import BoundDual
from monai_iscs.sampling.rules import BoundRule
from monai_iscs.sampling.sigmas import check_sigmas


class Plugs(NamedTuple):
    """The functions of the loop, bound to one reconstruction; volumes are (C, X, Y, Z).

    Attributes:
        start: `start() -> volume`, to which the first noise is added.
        prior: `prior(x, sigma) -> E[x0 | x]` for x = x0 + sigma * n; called once per step.
        consistency: `consistency(x0, sigma) -> x0_hat`, which knows the measurement; a `BoundDual` adds its dual
            variable before the next noise.
        noise: `noise(sigma, estimate) -> volume` of unit variance; the estimate is the last one, None for the
            start.
        rule: `rule(state, sigma_next, noise) -> x`, the next noisy volume.
    """

    start: Callable[[], Tensor]
    prior: Callable[[Tensor, float], Tensor]
    consistency: Callable[[Tensor, float], Tensor]
    noise: Callable[[float, Tensor | None], Tensor]
    rule: BoundRule


@dataclass
class State:
    """A step of the sampler. The loop reuses its tensors in the next step: clone those that you keep.

    Attributes:
        index: number of the step, from 0.
        sigma: of the step.
        x0: the prior's estimate, (C, X, Y, Z).
        x0_hat: the estimate after the consistency step; after the last step the result.
        eps_hat: the noise that the prior saw, or None if the rule does not use it.
    """

    index: int
    sigma: float
    x0: Tensor | None
    x0_hat: Tensor
    eps_hat: Tensor | None


def sample(plugs: Plugs, sigmas: Sequence[float], state: State | None = None) -> Iterator[State]:
    """Reconstruct a volume: denoise, fit the measurement, re-noise; one step for each sigma.

    Args:
        plugs: start, prior, consistency, noise and rule.
        sigmas: positive, strictly decreasing.
        state: a step to go on from; the plugs must have their state after it.

    Yields:
        Each step, once it is done.

    Raises:
        InputError: sigmas that are not positive and strictly decreasing.
    """
    start, prior, consistency, noise, rule = plugs
    sigmas = check_sigmas(sigmas)
    for index in range(0 if state is None else state.index + 1, len(sigmas)):
        sigma, sigma_next = sigmas[index], sigmas[index + 1] if index + 1 < len(sigmas) else None
        if state is None:
            x = start().add(noise(sigma, None), alpha=sigma)
        else:
            x = rule(_with_dual(state, consistency), sigma, noise(sigma, state.x0_hat))
            state.x0 = state.x0_hat = state.eps_hat = None  # memory for the prior
        x0 = prior(x, sigma)
        eps_hat = rule.predicted_noise(x, x0, sigma, sigma_next)
        del x
        x0_hat = consistency(x0, sigma)
        state = State(index, sigma, x0, x0_hat, eps_hat)
        del x0, x0_hat, eps_hat
        yield state


def _with_dual(state: State, consistency: Callable[[Tensor, float], Tensor]) -> State:
    dual = consistency.dual if isinstance(consistency, BoundDual) else None
    return state if dual is None else replace(state, x0_hat=state.x0_hat + dual)
