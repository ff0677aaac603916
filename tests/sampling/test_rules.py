# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.sampling import DDIMRule, DDSRule, State, renoise


@pytest.mark.parametrize("rule", [DDSRule, DDIMRule])
@pytest.mark.parametrize("eta", [-0.1, 1.1, float("nan")])
def test_eta_outside_zero_to_one_is_refused(rule, eta):
    with pytest.raises(InputError, match=f"eta: found {eta}"):
        rule(eta)


@pytest.mark.parametrize("rule", [DDSRule, DDIMRule])
@pytest.mark.parametrize("momentum", [-0.1, 1.0, float("nan")])
def test_momentum_out_of_range(rule, momentum):
    with pytest.raises(InputError, match=f"momentum: found {momentum}"):
        rule(momentum=momentum)


def test_rules():
    assert DDSRule(0.85).share(5, 4) == 0.85
    assert DDIMRule(0.5).share(5, 4) == pytest.approx(0.5 * 0.6)
    assert DDIMRule(0.0).share(5, 4) == 0


def test_ddim_rule_is_the_textbook_variance():
    # sigma_sto^2 = eta^2 sigma_next^2 (sigma^2 - sigma_next^2) / sigma^2, the variance exploding form of Song et al.
    sigma, sigma_next, eta = 3.0, 1.7, 0.8
    k = DDIMRule(eta).share(sigma, sigma_next)
    assert (k * sigma_next) ** 2 == pytest.approx(eta**2 * sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2)


@pytest.mark.parametrize("k", [0.0, 0.4, 1.0])
def test_renoise_leaves_the_next_level_of_noise(k):
    generator = torch.Generator().manual_seed(0)
    truth, n, fresh = torch.randn(3, 200, 1, 100, 100, generator=generator)[:, :1]
    left = renoise(truth + 7, n, 0.5, fresh, k) - truth - 7
    assert float(left.std()) == pytest.approx(0.5, rel=0.02)
    expected = 0.5 * (math.sqrt(1 - k**2) * n + k * fresh)
    torch.testing.assert_close(left, expected, atol=1e-5, rtol=0)


def test_what_is_dropped_need_not_be_given():
    x0_hat, n, fresh = torch.randn(3, 4, 1, 8, 8)
    assert torch.equal(renoise(x0_hat, None, 0.5, fresh, 1.0), renoise(x0_hat, n, 0.5, fresh, 1.0))


def test_a_bound_rule_keeps_what_it_needs_and_no_more():
    """The predicted noise if some of it stays, the estimate before if there is momentum."""
    x, x0, noise = torch.randn(3, 1, 4, 4, 4)
    assert DDSRule(1.0).bind().predicted_noise(x, x0, 0.5, 0.2) is None
    assert DDSRule(0.5).bind().predicted_noise(x, x0, 0.5, None) is None
    torch.testing.assert_close(DDSRule(0.5).bind().predicted_noise(x, x0, 0.5, 0.2), 2 * (x - x0))
    for momentum, kept in ((0.0, False), (0.4, True)):
        rule = DDSRule(momentum=momentum).bind()
        rule(State(0, 0.5, None, x0, None), 0.2, noise)
        assert (rule.state_dict()["previous"] is not None) == kept
