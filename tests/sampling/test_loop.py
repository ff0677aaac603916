# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from itertools import product

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.operators import ForeignOperator
from monai_iscs.sampling import DDNM, DDS, DDIMRule, DDSRule, IdenticalNoise, SlerpNoise, geometric_sigmas, reconstruct

SHAPE = (6, 1, 8, 8)


def unchanged(x0, sigma):
    return x0


@pytest.fixture
def truth():
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def operator():
    matrix = torch.rand(20, 384, generator=torch.Generator().manual_seed(1)) / 20
    pair = (lambda x: matrix @ x.flatten(), lambda y: (matrix.T @ y).view(SHAPE))
    return ForeignOperator(pair, domain_shape=SHAPE, range_shape=(20,))


RULES = [DDSRule(0), DDSRule(0.5), DDSRule(1), DDIMRule(0), DDIMRule(0.5), DDIMRule(1)]


@pytest.mark.parametrize(("steps", "rule"), [*product([1, 2, 30], RULES), (300, DDSRule(1)), (300, DDIMRule(0.5))])
def test_an_exact_denoiser_leaves_no_error(truth, operator, steps, rule):
    sigmas = geometric_sigmas(steps, sigma_max=378, sigma_min=0.01)
    y = operator(truth)
    for consistency in (unchanged, DDS(operator, y), DDS(operator, y, gamma=10.0), DDNM(operator, y)):
        found = reconstruct(lambda x, sigma: truth, consistency, SlerpNoise(), sigmas, torch.zeros(SHAPE), rule=rule)
        assert (found - truth).abs().max() < 1e-5


def test_a_noise_oracle_leaves_no_error(truth):
    # the denoiser removes exactly the noise that is in x: any error would be one of the re-noising's arithmetic
    for rule in (DDSRule(0), DDSRule(0.7), DDIMRule(1)):
        seen = []

        def oracle(x, sigma, seen=seen):
            seen.append(((x - truth) / sigma).std())
            return truth

        reconstruct(
            oracle, unchanged, SlerpNoise(seed=3), geometric_sigmas(300, sigma_max=5, sigma_min=0.01), truth, rule=rule
        )
        torch.testing.assert_close(torch.stack(seen), torch.ones(300), atol=0.4, rtol=0)


def test_steps_levels_and_returned_estimate(truth):
    levels, steps, evaluations = [5.0, 2.0, 0.5], [], []

    def denoiser(x, sigma):
        evaluations.append(sigma)
        return 0.5 * x

    found = reconstruct(denoiser, lambda x0, sigma: x0 + sigma, SlerpNoise(), levels, truth, callback=steps.append)
    assert evaluations == levels
    assert [(step.index, step.total, step.sigma) for step in steps] == [(0, 3, 5.0), (1, 3, 2.0), (2, 3, 0.5)]
    for step in steps:
        torch.testing.assert_close(step.x0_hat, step.x0 + step.sigma)
    assert torch.equal(found, steps[-1].x0_hat)
    assert found.dtype == torch.float32


def test_the_loop_by_hand(truth):
    noise = IdenticalNoise(seed=4)
    found = reconstruct(lambda x, sigma: 0.5 * x, lambda x0, sigma: x0 + 1, noise, [4.0, 3.0], truth, rule=DDIMRule(1))
    noise.reset()
    x = truth + 4 * noise(truth, 4.0)
    eps_hat = 0.5 * x / 4
    x = 0.5 * x + 1 + 3 * (0.75 * eps_hat + (7 / 16) ** 0.5 * noise(truth, 3.0))
    torch.testing.assert_close(found, 0.5 * x + 1)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.8])
def test_momentum_takes_fewer_steps(truth, momentum):
    """Where a step leaves 0.9 of the error, e[n+1] = 0.9 ((1 + momentum) e[n] - momentum e[n-1])."""
    errors = []
    reconstruct(
        lambda x, sigma: truth + 0.9 * (x - truth),
        unchanged,
        lambda like, sigma: torch.zeros_like(like),
        geometric_sigmas(20, sigma_max=1, sigma_min=0.1),
        torch.zeros(SHAPE),
        momentum=momentum,
        callback=lambda step: errors.append(float((step.x0_hat - truth).norm() / truth.norm())),
    )
    expected = [0.9, 0.81]  # the first step has no change before it
    for _ in range(18):
        expected.append(0.9 * ((1 + momentum) * expected[-1] - momentum * expected[-2]))
    assert errors == pytest.approx([abs(error) for error in expected], rel=1e-3)


@pytest.mark.parametrize("momentum", [-0.1, 1.0, float("nan")])
def test_momentum_out_of_range(truth, momentum):
    with pytest.raises(InputError, match="momentum is"):
        reconstruct(unchanged, unchanged, SlerpNoise(), [1.0], truth, momentum=momentum)


def test_levels_must_fall(truth):
    with pytest.raises(InputError, match="strictly decreasing"):
        reconstruct(unchanged, unchanged, SlerpNoise(), [1.0, 2.0], truth)
