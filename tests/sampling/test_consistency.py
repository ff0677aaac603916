# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.operators import ForeignOperator, GaussianSmoothing
from monai_iscs.sampling import DDNM, DDS, DDSTV
from monai_iscs.solvers import SIRT

SHAPE = (3, 1, 2, 2)


@pytest.fixture
def matrix():
    return torch.rand(5, 12, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def operator(matrix):
    pair = (lambda x: matrix @ x.flatten(), lambda y: (matrix.T @ y).view(SHAPE))
    return ForeignOperator(pair, domain_shape=SHAPE, range_shape=(5,))


@pytest.fixture
def x0():
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def y():
    return torch.rand(5, generator=torch.Generator().manual_seed(2))


def test_dds_without_gamma_moves_x0_onto_the_measurement(operator, matrix, x0, y):
    # converged: the point nearest to x0 that meets the measurement
    expected = x0.flatten() + torch.linalg.pinv(matrix) @ (y - matrix @ x0.flatten())
    found = DDS(operator, y, iterations=20)(x0, 0.3)
    torch.testing.assert_close(found.flatten(), expected, atol=1e-3, rtol=0)


def test_dds_with_gamma_solves_equation_16(operator, matrix, x0, y):
    expected = torch.linalg.solve(2.5 * matrix.T @ matrix + torch.eye(12), 2.5 * matrix.T @ y + x0.flatten())
    found = DDS(operator, y, iterations=12, gamma=2.5)(x0, 0.3)
    torch.testing.assert_close(found.flatten(), expected, atol=1e-4, rtol=0)
    by_function = DDS(operator, y, iterations=12, gamma=lambda sigma: 0.75 / sigma)(x0, 0.3)
    torch.testing.assert_close(by_function, found, atol=1e-5, rtol=0)


def test_dds_iterations_and_tolerance(operator, x0, y):
    def residual(**settings):
        return float((operator(DDS(operator, y, **settings)(x0, 0.3)) - y).norm())

    one, three, exact = (residual(iterations=count) for count in (1, 3, 20))
    assert one > 1.5 * three > 0
    assert exact < three / 10
    assert exact < residual(iterations=20, rtol=0.1) < float((operator(x0) - y).norm())


def test_dds_scalars_per_slice(x0):
    # an operator that acts slice by slice: with batch_dims=1 each slice is solved as if it were alone
    weights = torch.rand(3, 4, generator=torch.Generator().manual_seed(3))

    def slicewise(count):
        forward, adjoint = lambda x: x.flatten(1) @ weights.T, lambda y: (y @ weights).view(count, 1, 2, 2)
        return ForeignOperator((forward, adjoint), domain_shape=(count, 1, 2, 2), range_shape=(count, 3))

    y = torch.rand(3, 3, generator=torch.Generator().manual_seed(4))
    together = DDS(slicewise(3), y, iterations=1, batch_dims=1)(x0, 0.3)
    for index in range(3):
        alone = DDS(slicewise(1), y[index : index + 1], iterations=1)(x0[index : index + 1], 0.3)
        torch.testing.assert_close(together[index : index + 1], alone)
    coupled = DDS(slicewise(3), y, iterations=1)(x0, 0.3)
    assert (coupled - together).abs().max() > 1e-3


def test_dds_at_zero_residual_returns_x0(operator, x0):
    for gamma in (None, 3.0):
        found = DDS(operator, operator(x0), iterations=30, gamma=gamma)(x0, 0.3)
        torch.testing.assert_close(found, x0, atol=1e-6, rtol=0)


def test_dds_backprojects_once(matrix, x0, y):
    calls = []

    def adjoint(measurement):
        calls.append(measurement)
        return (matrix.T @ measurement).view(SHAPE)

    operator = ForeignOperator((lambda x: matrix @ x.flatten(), adjoint), domain_shape=SHAPE, range_shape=(5,))
    operator(x0)  # its adjoint is tested, once
    calls.clear()
    dds = DDS(operator, y, iterations=2)
    assert len(calls) == 1
    dds(x0, 0.3)
    assert not any(torch.equal(measurement, y) for measurement in calls[1:])


def test_dds_refuses_an_unmatched_operator(matrix, y, x0):
    pair = (lambda x: matrix @ x.flatten(), lambda v: (matrix.T @ v).view(SHAPE))
    operator = ForeignOperator(pair, domain_shape=SHAPE, range_shape=(5,), matched=False)
    with pytest.raises(InputError, match="matched"):
        DDS(operator, y)
    DDS(operator, y, allow_unmatched=True)(x0, 0.3)
    DDNM(operator, y)(x0, 0.3)


def test_dds_needs_an_iteration(operator, y):
    with pytest.raises(InputError, match="iterations is 0"):
        DDS(operator, y, iterations=0)


def test_ddnm_is_equation_14(operator, matrix, x0, y):
    pseudo_inverse = torch.linalg.pinv(matrix)
    ddnm = DDNM(operator, y, pseudo_inverse=lambda v: (pseudo_inverse @ v).view(SHAPE))
    expected = x0.flatten() - pseudo_inverse @ matrix @ x0.flatten() + pseudo_inverse @ y
    torch.testing.assert_close(ddnm(x0, 0.3).flatten(), expected, atol=1e-4, rtol=0)


def test_ddnm_takes_the_operator_s_own_pseudo_inverse(operator, matrix, x0, y):
    pseudo_inverse = torch.linalg.pinv(matrix)
    operator.pseudo_inverse = lambda v: (pseudo_inverse @ v).view(SHAPE)
    found = DDNM(operator, y)(x0, 0.3)
    torch.testing.assert_close(found, x0 + operator.pseudo_inverse(y - operator(x0)))


def test_ddnm_with_sirt_meets_the_measurement(operator, x0, y):
    found = DDNM(operator, y, iterations=1000, rtol=0)(x0, 0.3)
    assert (operator(found) - y).abs().max() < 1e-2
    torch.testing.assert_close(DDNM(operator, operator(x0))(x0, 0.3), x0, atol=1e-6, rtol=0)


@pytest.mark.parametrize("step", [DDS, DDNM])
def test_smoothing_binds_the_correction_to_smooth_ones(step, matrix, x0, y):
    # converged: of the volumes that meet the measurement, one that differs from x0 by something smooth across slices
    matrix = matrix[:2]
    pair = (lambda x: matrix @ x.flatten(), lambda y: (matrix.T @ y).view(SHAPE))
    operator = ForeignOperator(pair, domain_shape=SHAPE, range_shape=(2,), resolution=(2.0, 1.0, 1.0, 1.0))
    found = step(operator, y[:2], iterations=2000, rtol=0.0, smoothing=0.6)(x0, 0.3)
    torch.testing.assert_close(operator(found), y[:2], atol=1e-4, rtol=0)
    smoothing = GaussianSmoothing(SHAPE, std=1.2, axis=0)
    smooth = smoothing(torch.eye(12).view(12, *SHAPE)).reshape(12, 12)
    if step is DDS:
        expected = smooth @ torch.linalg.pinv(matrix @ smooth) @ (y[:2] - matrix @ x0.flatten())
        torch.testing.assert_close((found - x0).flatten(), expected, atol=1e-4, rtol=0)
    free = step(operator, y[:2], iterations=2000, rtol=0.0)(x0, 0.3)
    rough = [torch.linalg.solve(smooth, (result - x0).flatten()).norm() for result in (found, free)]
    assert rough[0] < 0.9 * rough[1]


def test_plane_smoothing_where_samples_are_far_apart(matrix, x0, y):
    matrix = matrix[:2]
    pair = (lambda x: matrix @ x.flatten(), lambda y: (matrix.T @ y).view(SHAPE))
    operator = ForeignOperator(pair, domain_shape=SHAPE, range_shape=(2,), resolution=(2.0, 1.0, 1.5, 1.0))
    found = DDS(operator, y[:2], iterations=2000, plane_smoothing=0.4)(x0, 0.3)
    smooth = GaussianSmoothing(SHAPE, std=0.6, axis=2)(torch.eye(12).view(12, *SHAPE)).reshape(12, 12)
    expected = smooth @ torch.linalg.pinv(matrix @ smooth) @ (y[:2] - matrix @ x0.flatten())
    torch.testing.assert_close((found - x0).flatten(), expected, atol=1e-4, rtol=0)


def test_smoothing_has_no_meaning_without_a_resolution(operator, x0, y):
    torch.testing.assert_close(DDS(operator, y, smoothing=0.6)(x0, 0.3), DDS(operator, y)(x0, 0.3), atol=0, rtol=0)


def test_impossible_smoothing_is_refused(operator, y):
    with pytest.raises(InputError, match="smoothing is -1, expected a width of at least 0"):
        DDS(operator, y, smoothing=-1)
    with pytest.raises(InputError, match="smoothing is 1 and pseudo_inverse is given"):
        DDNM(operator, y, smoothing=1, pseudo_inverse=operator.T)


@pytest.mark.parametrize("step", [DDS, DDNM])
@pytest.mark.parametrize("smoothing", [0.0, 0.6])
def test_a_noisy_measurement_is_met_up_to_its_noise(step, smoothing, matrix, x0, y):
    pair = (lambda x: matrix @ x.flatten(), lambda y: (matrix.T @ y).view(SHAPE))
    operator = ForeignOperator(pair, domain_shape=SHAPE, range_shape=(5,), resolution=(2.0, 1.0, 1.0, 1.0))
    before = float((operator(x0) - y).norm())

    def residual(count, level):
        found = step(operator, y, iterations=count, rtol=0.0, smoothing=smoothing, noise_level=level)(x0, 0.3)
        return float((operator(found) - y).norm())

    level = 0.3 * before / 5**0.5
    if step is DDS:
        assert residual(2000, level) == pytest.approx(0.3 * before, rel=1e-4)
    else:  # SIRT stops after the iteration that reaches it
        count = next(n for n in range(1, 2000) if residual(n, 0.0) <= 0.3 * before)
        assert residual(2000, level) == pytest.approx(residual(count, 0.0), rel=1e-4)
    assert residual(2000, lambda *told: level if told == (y, operator) else 0.0) == residual(2000, level)
    assert residual(2000, 1.01 * before / 5**0.5) == before


def test_an_exact_pseudo_inverse_goes_as_far_as_the_noise(operator, matrix, x0, y):
    pseudo_inverse = torch.linalg.pinv(matrix)
    ddnm = DDNM(operator, y, pseudo_inverse=lambda v: (pseudo_inverse @ v).view(SHAPE), noise_level=0.1)
    found = ddnm(x0, 0.3)
    assert float((operator(found) - y).norm()) == pytest.approx(0.1 * 5**0.5, rel=1e-4)


def test_impossible_noise_levels_are_refused(operator, y):
    for step in (DDS, DDNM, DDSTV):
        with pytest.raises(InputError, match="noise_level is -1, expected at least 0"):
            step(operator, y, noise_level=-1)
    for other in ({"gamma": 1.0}, {"batch_dims": 1}):
        with pytest.raises(InputError, match="neither gamma nor batch_dims"):
            DDS(operator, y, noise_level=0.1, **other)
    with pytest.raises(InputError, match="expected no gamma"):
        DDSTV(operator, y, noise_level=0.1, gamma=1.0)


def test_a_sirt_that_stops_by_itself_keeps_its_own_level(operator, x0, y):
    sirt = SIRT(operator, iterations=500, rtol=0, stop_residual=0.5)
    found = DDNM(operator, y, pseudo_inverse=sirt)(x0, 0.3)
    torch.testing.assert_close(found, x0 + sirt(y - operator(x0)))
    converged = DDNM(operator, y, pseudo_inverse=SIRT(operator, iterations=500, rtol=0))(x0, 0.3)
    assert (found - converged).abs().max() > 1e-3


def test_a_noisy_measurement_still_gets_its_total_variation(operator, x0, y):
    found = DDSTV(operator, y, noise_level=0.3, lam=5.0)
    rough = [float(x.diff(dim=0).abs().sum()) for x in (x0, [found(x0, 0.3) for _ in range(30)][-1])]
    assert rough[1] < 0.9 * rough[0]
