# SPDX-License-Identifier: Apache-2.0
"""The dual variable between prior and measurement."""

from __future__ import annotations

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.operators import ForeignOperator
from monai_iscs.sampling import DDS, ConjugateGradient, DDSRule, Plugs, geometric_sigmas, sample
from monai_iscs.sampling.dual import BoundDual
from monai_iscs.scans import Measurement

SHAPE = (3, 2, 2)
NOISE = 0.7


@pytest.fixture
def matrix():
    return torch.rand(5, 12, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def measurement(matrix):
    pair = (lambda x: matrix @ x.flatten(), lambda y: (matrix.T @ y).view(SHAPE))
    operator = ForeignOperator(pair, domain_shape=SHAPE, range_shape=(5,))
    y = torch.rand(1, 5, generator=torch.Generator().manual_seed(2))
    return Measurement(y, operator, noise_level=NOISE)


def dds(dual):
    return DDS(solver=ConjugateGradient(iterations=20), error=1.0, dual=dual)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_three_steps_by_hand(share):
    x0s = [torch.full((1, *SHAPE), value) for value in (1.0, 2.0, 0.5)]
    step = BoundDual(lambda x0, sigma: 3 * x0, share)
    first = step(x0s[0], 0.8)
    assert step.dual is None
    torch.testing.assert_close(first, 3 * x0s[0])
    second = step(x0s[1], 0.4)
    u = share / 4 * (first - x0s[1])
    torch.testing.assert_close(step.dual, u)
    torch.testing.assert_close(second, 3 * (x0s[1] - u))
    step(x0s[2], 0.2)
    torch.testing.assert_close(step.dual, share / 4 * (u + second - x0s[2]))


@pytest.mark.parametrize("rule", [DDSRule(), DDSRule(momentum=0.3)])
def test_with_a_prior_s_proximal_map_the_steps_end_at_the_most_probable_volume(rule, matrix, measurement):
    """Of x ~ N(0, 1) given y: without the dual variable they end at that of a prior that is smoothed too far."""
    normal = matrix.T @ matrix / NOISE**2 + torch.eye(12)
    expected = torch.linalg.solve(normal, matrix.T @ measurement.data[0] / NOISE**2)

    def off(dual):
        plugs = Plugs(
            start=lambda: torch.zeros(1, *SHAPE),
            prior=lambda x, sigma: x / (1 + sigma**2),
            consistency=dds(dual).bind(measurement, 0),
            noise=lambda sigma, estimate: torch.zeros(1, *SHAPE),
            rule=rule.bind(),
        )
        *_, last = sample(plugs, geometric_sigmas(300, sigma_max=1.0, sigma_min=0.6))
        return float((last.x0_hat.flatten() - expected).norm() / expected.norm())

    assert off(1.0) < 1e-3
    assert off(0.0) > 0.02


def test_the_result_is_the_consistent_volume_and_the_noise_is_added_to_both(measurement):
    """The last step's volume is without u; the next noisy one has it."""
    seen, results, duals = [], [], []

    def prior(x, sigma):
        seen.append(x.clone())
        return 0.7 * x

    consistency = dds(1.0).bind(measurement, 0)
    noise = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(3))
    plugs = Plugs(lambda: torch.ones(1, *SHAPE), prior, consistency, lambda sigma, estimate: noise, DDSRule().bind())
    plain = dds(0.0).bind(measurement, 0)
    for state in sample(plugs, [0.4, 0.3, 0.2]):
        if results:
            torch.testing.assert_close(seen[-1], results[-1] + duals[-1] + state.sigma * noise)
        results.append(state.x0_hat.clone())
        duals.append(torch.zeros(1, *SHAPE) if consistency.dual is None else consistency.dual.clone())
        torch.testing.assert_close(results[-1], plain(state.x0 - duals[-1], state.sigma))
    assert float(duals[-1].abs().max()) > 0.01


def test_a_measurement_without_noise_is_met_as_ever(measurement):
    exact = measurement.changed(noise_level=0.0)
    x0 = torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(1))
    found, expected = (dds(dual).bind(exact, 0) for dual in (1.0, 0.0))
    assert not isinstance(found, BoundDual)
    for sigma in (0.4, 0.2):
        torch.testing.assert_close(found(x0, sigma), expected(x0, sigma))


def test_early_stopping_has_one_too(measurement):
    step = DDS(discrepancy=True, dual=0.5).bind(measurement, 0)
    x0 = torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(1))
    first = step(x0, 0.4)
    assert isinstance(step, BoundDual)
    step(x0, 0.2)
    torch.testing.assert_close(step.dual, (first - x0) / 8)


def test_a_share_out_of_range():
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match=f"dual: found {share}, expected a share from 0 to 1"):
            DDS(error=1.0, dual=share)
