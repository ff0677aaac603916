# SPDX-License-Identifier: Apache-2.0
"""Shared by the sampler's tests: the loop with functions as plugs, and noise for a stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from monai_iscs.grid import Grid
from monai_iscs.randomness import random_stream
from monai_iscs.sampling import BoundNoise, DDSRule, Plugs, Rule, SliceNoise, State, sample
from monai_iscs.solvers import conjugate_gradient


def bind_noise(
    noise: SliceNoise,
    shape: Sequence[int],
    *,
    seed: int = 0,
    axis: int = 0,
    spacing: float = 1.0,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> BoundNoise:
    grid = Grid.centered(shape[1:], (spacing,) * 3)
    return noise.bind(grid, axis, random_stream(seed, "noise"), channels=shape[0], dtype=dtype, device=device)


@pytest.fixture(scope="session")
def bound() -> Callable[..., BoundNoise]:
    """``bound(noise, (C, X, Y, Z), seed=, axis=, spacing=, dtype=, device=)``: a noise for such volumes."""
    return bind_noise


@pytest.fixture(scope="session")
def walk() -> Callable[..., Tensor]:
    """``walk(prior, consistency, noise, sigmas, start)``: the last estimate of the loop, for slices along axis 0."""

    def walk(
        prior: Callable[[Tensor, float], Tensor],
        consistency: Callable[[Tensor, float], Tensor],
        noise: SliceNoise,
        sigmas: Sequence[float],
        start: Tensor,
        *,
        rule: Rule = DDSRule(),  # noqa: B008 - frozen
        seed: int = 0,
        callback: Callable[[State], object] | None = None,
    ) -> Tensor:
        plugs = Plugs(lambda: start, prior, consistency, bind_noise(noise, start.shape, seed=seed), rule.bind())
        for state in sample(plugs, sigmas):
            if callback is not None:
                callback(state)
        return state.x0_hat

    return walk


@dataclass(frozen=True)
class OwnSteps:
    """Conjugate gradients with separate step lengths for every slice of every channel: a user's solver."""

    iterations: int

    def bind(self, operator, axis):
        assert axis == 0

        def solve(system, right_side, x0, enough):
            return conjugate_gradient(system, right_side, x0, iterations=self.iterations, batch_dims=2)

        return solve


@pytest.fixture(scope="session")
def own_steps() -> type[OwnSteps]:
    """``own_steps(iterations)``: a solver for operators that work slice by slice, with slices along axis 0."""
    return OwnSteps
