# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.operators import ForeignOperator
from monai_iscs.sampling import DDS, DDSTV
from monai_iscs.solvers import voxel_weight

SHAPE = (4, 1, 2, 2)


@pytest.fixture
def matrix():
    return torch.rand(7, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def operator(matrix):
    pair = (lambda x: matrix @ x.flatten(), lambda y: (matrix.T @ y).view(SHAPE))
    return ForeignOperator(pair, domain_shape=SHAPE, range_shape=(7,))


@pytest.fixture
def x0():
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def y():
    return torch.rand(7, generator=torch.Generator().manual_seed(2)) + 3


def test_without_penalty_it_ends_where_dds_does(operator, x0, y):
    found = DDSTV(operator, y, lam=0.0, iterations=10, admm_iterations=100, gamma=2.5)(x0, 0.3)
    torch.testing.assert_close(found, DDS(operator, y, iterations=20, gamma=2.5)(x0, 0.3), atol=1e-4, rtol=0)


def test_it_minimises_what_it_says(operator, x0, y):
    gamma, lam = 2.0, 0.05
    found = DDSTV(operator, y, lam=lam, iterations=10, admm_iterations=100, gamma=gamma)(x0, 0.3)
    slope = operator.T(operator(found) - y) + (found - x0) / gamma
    # at the minimum the slope is -lam w Dᵀ p, p the sign of each difference, or between -1 and 1 where it vanishes
    p = slope.cumsum(0)[:-1] / (lam * voxel_weight(operator, y))
    difference = found.diff(dim=0)
    differ = difference.abs() > 1e-3
    assert 0 < differ.sum() < differ.numel()
    assert p.abs().max() < 1.02
    torch.testing.assert_close(p[differ], difference[differ].sign(), atol=2e-2, rtol=0)
    torch.testing.assert_close(slope.sum(0), torch.zeros(1, 2, 2), atol=1e-3, rtol=0)


def test_a_huge_penalty_makes_all_slices_equal(operator, x0, y):
    step = DDSTV(operator, y, lam=1e3, iterations=10)
    for _ in range(60):
        found = step(x0, 0.3)
    assert found.diff(dim=0).abs().max() < 1e-3 < 0.1 < x0.diff(dim=0).abs().max()
    assert found[0].std() > 0.01  # but not within the slice


def test_split_and_dual_go_on_from_step_to_step(operator, x0, y):
    # two calls of one iteration are one call of two, when the second starts where the first ended
    once, twice = (DDSTV(operator, y, lam=0.05, iterations=20, admm_iterations=count) for count in (1, 2))
    second = once(once(x0, 0.3), 0.3)
    torch.testing.assert_close(second, twice(x0, 0.3))
    forgetful = DDSTV(operator, y, lam=0.05, iterations=20)(DDSTV(operator, y, lam=0.05, iterations=20)(x0, 0.3), 0.3)
    assert (forgetful - second).abs().max() > 1e-3


def test_the_ends_of_the_stack_are_no_neighbours(x0):
    # a ramp costs its rise once; with circular differences the jump back would cost it twice
    ramp = torch.linspace(0, 1, 4).view(4, 1, 1, 1).expand(SHAPE).contiguous()
    identity = ForeignOperator((lambda x: x, lambda y: y), domain_shape=SHAPE, range_shape=SHAPE)
    found = DDSTV(identity, ramp, lam=0.1, rho=1.0, iterations=4, admm_iterations=100)(x0, 0.3)
    expected = torch.tensor([0.1, 1 / 3, 2 / 3, 0.9]).view(4, 1, 1, 1).expand(SHAPE)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_units_of_the_measurement_change_nothing(operator, x0, y):
    expected = DDSTV(operator, y, lam=0.01, iterations=5)(x0, 0.3)
    found = DDSTV(7.0 * operator, 7.0 * y, lam=0.01, iterations=5)(x0, 0.3)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_gamma_may_follow_sigma(operator, x0, y):
    expected = DDSTV(operator, y, gamma=2.5)(x0, 0.3)
    torch.testing.assert_close(DDSTV(operator, y, gamma=lambda sigma: 0.75 / sigma)(x0, 0.3), expected)


@pytest.mark.parametrize("bad", [{"lam": -1.0}, {"rho": 0.0}, {"iterations": 0}, {"admm_iterations": 0}])
def test_bad_arguments(bad, operator, y):
    with pytest.raises(InputError, match=f"{next(iter(bad))}={next(iter(bad.values()))}"):
        DDSTV(operator, y, **bad)


def test_an_unmatched_operator_is_refused(matrix, y):
    pair = (lambda x: matrix @ x.flatten(), lambda v: (matrix.T @ v).view(SHAPE))
    with pytest.raises(InputError, match="matched"):
        DDSTV(ForeignOperator(pair, domain_shape=SHAPE, range_shape=(7,), matched=False), y)
