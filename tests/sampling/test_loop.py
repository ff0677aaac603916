# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.operators import ForeignOperator
from monai_iscs.sampling import (
    DDNM,
    DDS,
    DDIMRule,
    DDSRule,
    IdenticalNoise,
    Plugs,
    SlerpNoise,
    geometric_sigmas,
    sample,
)
from monai_iscs.scans import Measurement

SHAPE = (1, 6, 8, 8)


def unchanged(x0, sigma):
    return x0


@pytest.fixture
def truth():
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def operator():
    matrix = torch.rand(20, 384, generator=torch.Generator().manual_seed(1)) / 20
    pair = (lambda x: matrix @ x.flatten(), lambda y: (matrix.T @ y).view(SHAPE[1:]))
    return ForeignOperator(pair, domain_shape=SHAPE[1:], range_shape=(20,))


RULES = [DDSRule(0), DDSRule(0.5), DDSRule(1), DDIMRule(0), DDIMRule(0.5), DDIMRule(1)]


@pytest.mark.parametrize(("steps", "rule"), [*product([1, 2, 30], RULES), (300, DDSRule(1)), (300, DDIMRule(0.5))])
def test_an_exact_denoiser_leaves_no_error(truth, operator, walk, steps, rule):
    sigmas = geometric_sigmas(steps, sigma_max=378, sigma_min=0.01)
    measurement = Measurement(operator(truth), operator)
    for consistency in (DDS(), DDS(gamma=10.0), DDNM()):
        step = consistency.bind(measurement, 0)
        found = walk(lambda x, sigma: truth, step, SlerpNoise(), sigmas, torch.zeros(SHAPE), rule=rule)
        assert (found - truth).abs().max() < 1e-5
    found = walk(lambda x, sigma: truth, unchanged, SlerpNoise(), sigmas, torch.zeros(SHAPE), rule=rule)
    assert (found - truth).abs().max() < 1e-5


def test_a_noise_oracle_leaves_no_error(truth, walk):
    # the denoiser removes exactly the noise that is in x: any error would come from the re-noising
    for rule in (DDSRule(0), DDSRule(0.7), DDIMRule(1)):
        seen = []

        def oracle(x, sigma, seen=seen):
            seen.append(((x - truth) / sigma).std())
            return truth

        sigmas = geometric_sigmas(300, sigma_max=5, sigma_min=0.01)
        walk(oracle, unchanged, SlerpNoise(), sigmas, truth.clone(), rule=rule, seed=3)
        torch.testing.assert_close(torch.stack(seen), torch.ones(300), atol=0.4, rtol=0)


def test_steps_levels_and_returned_estimate(truth, walk):
    levels, steps, evaluations = [5.0, 2.0, 0.5], [], []

    def denoiser(x, sigma):
        evaluations.append(sigma)
        return 0.5 * x

    found = walk(
        denoiser,
        lambda x0, sigma: x0 + sigma,
        SlerpNoise(),
        levels,
        truth.clone(),
        callback=lambda state: steps.append(replace(state)),
    )
    assert evaluations == levels
    assert [(step.index, step.sigma) for step in steps] == [(0, 5.0), (1, 2.0), (2, 0.5)]
    for step in steps:
        torch.testing.assert_close(step.x0_hat, step.x0 + step.sigma)
    assert torch.equal(found, steps[-1].x0_hat)
    assert found.dtype == torch.float32


def test_a_step_s_tensors_are_dropped_at_the_next_one(truth):
    """The loop frees its memory for the prior: to keep an estimate, clone it."""
    plugs = Plugs(
        truth.clone, lambda x, sigma: x / 2, unchanged, lambda sigma, estimate: torch.zeros(SHAPE), DDSRule(0.5).bind()
    )
    steps = sample(plugs, [2.0, 1.0])
    first = next(steps)
    assert first.eps_hat.shape == first.x0_hat.shape == SHAPE
    next(steps)
    assert (first.x0, first.x0_hat, first.eps_hat) == (None, None, None)


def test_the_loop_by_hand(truth, walk, bound):
    found = walk(
        lambda x, sigma: 0.5 * x,
        lambda x0, sigma: x0 + 1,
        IdenticalNoise(),
        [4.0, 3.0],
        truth.clone(),
        rule=DDIMRule(1),
        seed=4,
    )
    noise = bound(IdenticalNoise(), SHAPE, seed=4)
    x = truth + 4 * noise(4.0)
    eps_hat = 0.5 * x / 4
    x = 0.5 * x + 1 + 3 * (0.75 * eps_hat + (7 / 16) ** 0.5 * noise(3.0))
    torch.testing.assert_close(found, 0.5 * x + 1)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.8])
def test_momentum_takes_fewer_steps(truth, momentum):
    """If a step leaves 0.9 of the error, e[n+1] = 0.9 ((1 + momentum) e[n] - momentum e[n-1])."""
    plugs = Plugs(
        start=lambda: torch.zeros(SHAPE),
        prior=lambda x, sigma: truth + 0.9 * (x - truth),
        consistency=unchanged,
        noise=lambda sigma, estimate: torch.zeros(SHAPE),
        rule=DDSRule(momentum=momentum).bind(),
    )
    steps = sample(plugs, geometric_sigmas(20, sigma_max=1, sigma_min=0.1))
    errors = [float((step.x0_hat - truth).norm() / truth.norm()) for step in steps]
    expected = [0.9, 0.81]  # the first step has no change before it
    for _ in range(18):
        expected.append(0.9 * ((1 + momentum) * expected[-1] - momentum * expected[-2]))
    assert errors == pytest.approx([abs(error) for error in expected], rel=1e-3)


def test_levels_must_fall(truth, walk):
    with pytest.raises(InputError, match="strictly decreasing"):
        walk(unchanged, unchanged, SlerpNoise(), [1.0, 2.0], truth)


def test_the_start_is_the_loop_s_own(truth):
    """A start that the caller keeps is not changed, a computed one is not kept: the loop calls for it once."""
    asked = []

    def start():
        asked.append(truth.clone())
        return asked[-1]

    plugs = Plugs(start, unchanged, unchanged, lambda sigma, estimate: torch.ones(SHAPE), DDSRule().bind())
    *_, last = sample(plugs, [2.0, 1.0])
    assert len(asked) == 1
    assert torch.equal(asked[0], truth)
    torch.testing.assert_close(last.x0_hat, truth + 3)


def test_the_noise_gets_the_last_estimate(truth):
    """None at the start; what is kept to go on from gives the same."""
    seen = []

    def noise(sigma, estimate):
        seen.append(None if estimate is None else estimate.clone())
        return torch.zeros(SHAPE)

    plugs = Plugs(truth.clone, lambda x, sigma: x / 2, unchanged, noise, DDSRule().bind())
    kept = [replace(state, x0_hat=state.x0_hat.clone()) for state in sample(plugs, [1.0, 0.5, 0.2])]
    assert seen[0] is None
    assert all(torch.equal(a, state.x0_hat) for a, state in zip(seen[1:], kept, strict=False))
    last = kept[1].x0_hat
    next(iter(sample(plugs, [1.0, 0.5, 0.2], kept[1])))
    assert torch.equal(seen[-1], last)
