# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.operators import ForeignOperator
from monai_iscs.sampling import DDS, DDSTV, ConjugateGradient
from monai_iscs.scans import Measurement
from monai_iscs.solvers import voxel_weight

SHAPE = (4, 2, 2)  # slices are along axis 0


def bind(operator, y, *, iterations=10, **settings):
    step = DDSTV(solver=ConjugateGradient(iterations=iterations), **settings)
    return step.bind(Measurement(y, operator), 0)


@pytest.fixture
def matrix():
    return torch.rand(7, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def operator(matrix):
    pair = (lambda x: matrix @ x.flatten(), lambda y: (matrix.T @ y).view(SHAPE))
    return ForeignOperator(pair, domain_shape=SHAPE, range_shape=(7,))


@pytest.fixture
def x0():
    return torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def y():
    return torch.rand(1, 7, generator=torch.Generator().manual_seed(2)) + 3


def test_without_penalty_it_ends_where_dds_does(operator, x0, y):
    found = bind(operator, y, lam=0.0, iterations=10, admm_iterations=100, gamma=2.5)(x0, 0.3)
    dds = DDS(solver=ConjugateGradient(iterations=20), gamma=2.5).bind(Measurement(y, operator), 0)
    torch.testing.assert_close(found, dds(x0, 0.3), atol=1e-4, rtol=0)


def test_it_minimises_what_it_says(operator, x0, y):
    gamma, lam = 2.0, 0.05
    found = bind(operator, y, lam=lam, iterations=10, admm_iterations=100, gamma=gamma)(x0, 0.3)
    slope = operator.T(operator(found) - y) + (found - x0) / gamma
    # at the minimum the slope is -lam w Dᵀ p, p the sign of each difference, or between -1 and 1 if it is 0
    p = slope.cumsum(1)[:, :-1] / (lam * voxel_weight(operator, y))
    difference = found.diff(dim=1)
    differ = difference.abs() > 1e-3
    assert 0 < differ.sum() < differ.numel()
    assert p.abs().max() < 1.02
    torch.testing.assert_close(p[differ], difference[differ].sign(), atol=2e-2, rtol=0)
    torch.testing.assert_close(slope.sum(1), torch.zeros(1, 2, 2), atol=1e-3, rtol=0)


def test_a_huge_penalty_makes_all_slices_equal(operator, x0, y):
    step = bind(operator, y, lam=1e3, iterations=10)
    for _ in range(60):
        found = step(x0, 0.3)
    assert found.diff(dim=1).abs().max() < 1e-3 < 0.1 < x0.diff(dim=1).abs().max()
    assert found[:, 0].std() > 0.01  # but not within the slice


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_neighbours_are_those_along_the_slices_axis(operator, x0, y, axis):
    step = DDSTV(lam=1e3, admm_iterations=500).bind(Measurement(y, operator), axis)
    found = step(x0, 0.3)
    for other in range(3):
        assert (float(found.diff(dim=other + 1).abs().max()) < 1e-3) == (other == axis)


def test_split_and_dual_go_on_from_step_to_step(operator, x0, y):
    # two calls of one iteration are one call of two, when the second starts where the first ended
    once, twice = (bind(operator, y, lam=0.05, iterations=20, admm_iterations=count) for count in (1, 2))
    second = once(once(x0, 0.3), 0.3)
    torch.testing.assert_close(second, twice(x0, 0.3))
    forgetful = bind(operator, y, lam=0.05, iterations=20)(bind(operator, y, lam=0.05, iterations=20)(x0, 0.3), 0.3)
    assert (forgetful - second).abs().max() > 1e-3


def test_the_ends_of_the_stack_are_no_neighbours(x0):
    # a ramp's penalty is its rise; circular differences would add the jump back
    ramp = torch.linspace(0, 1, 4).view(1, 4, 1, 1).expand(1, *SHAPE).contiguous()
    identity = ForeignOperator((lambda x: x, lambda y: y), domain_shape=SHAPE, range_shape=SHAPE)
    found = bind(identity, ramp, lam=0.1, rho=1.0, iterations=4, admm_iterations=100)(x0, 0.3)
    expected = torch.tensor([0.1, 1 / 3, 2 / 3, 0.9]).view(1, 4, 1, 1).expand(1, *SHAPE)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_units_of_the_measurement_change_nothing(operator, x0, y):
    expected = bind(operator, y, lam=0.01, iterations=5)(x0, 0.3)
    found = bind(7.0 * operator, 7.0 * y, lam=0.01, iterations=5)(x0, 0.3)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_a_noisy_measurement_is_fitted_to_its_noise(operator, matrix, x0):
    truth = torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(5))
    level = 0.2
    y = operator(truth) + level * torch.randn(1, 7, generator=torch.Generator().manual_seed(6))
    step = DDSTV(lam=1e-7, rho=1e-4, discrepancy=True).bind(Measurement(y, operator, noise_level=level), 0)
    assert float((y - operator(x0)).norm()) > 1.5 * level * 7**0.5
    torch.testing.assert_close((y - operator(step(x0, 0.3))).norm(), torch.tensor(level * 7**0.5), rtol=0.02, atol=0)


@pytest.mark.parametrize("bad", [{"lam": -1.0}, {"rho": 0.0}, {"admm_iterations": 0}])
def test_bad_arguments(bad):
    (name, value), *_ = bad.items()
    with pytest.raises(InputError, match=f"^{name}: found {value}, expected"):
        DDSTV(**bad)


def test_an_unmatched_operator_is_refused(matrix, y):
    pair = (lambda x: matrix @ x.flatten(), lambda v: (matrix.T @ v).view(SHAPE))
    with pytest.raises(InputError, match="matched"):
        bind(ForeignOperator(pair, domain_shape=SHAPE, range_shape=(7,), matched=False), y)
