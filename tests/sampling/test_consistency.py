# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ForeignOperator, GaussianSmoothing
from monai_iscs.sampling import DDNM, DDS, DDSTV, ConjugateGradient
from monai_iscs.scans import ConeBeamScan, Measurement
from monai_iscs.solvers import SIRT

SHAPE = (3, 2, 2)  # slices lie along axis 0
MANY = {"iterations": 2000, "rtol": 0.0}


@pytest.fixture
def matrix():
    return torch.rand(5, 12, generator=torch.Generator().manual_seed(0))


def scanner(matrix, **settings):
    pair = (lambda x: matrix @ x.flatten(), lambda y: (matrix.T @ y).view(SHAPE))
    return ForeignOperator(pair, domain_shape=SHAPE, range_shape=(len(matrix),), **settings)


def inverse_of(matrix):
    """A⁺ as an operator."""
    inverse = torch.linalg.pinv(matrix)
    pair = (lambda y: (inverse @ y).view(SHAPE), lambda x: inverse.T @ x.flatten())
    return ForeignOperator(pair, domain_shape=(len(matrix),), range_shape=SHAPE)


@pytest.fixture
def operator(matrix):
    return scanner(matrix)


@pytest.fixture
def x0():
    return torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def y():
    return torch.rand(1, 5, generator=torch.Generator().manual_seed(2))


def bind(consistency, operator, y, noise_level=0.0):
    return consistency.bind(Measurement(y, operator, noise_level=noise_level), 0)


def dds(operator, y, *, gamma=None, discrepancy=False, noise_level=0.0, **solver):
    settings = {"gamma": gamma, "discrepancy": discrepancy}
    return bind(DDS(solver=ConjugateGradient(**solver), **settings), operator, y, noise_level)


def ddnm(operator, y, *, noise_level=0.0, **settings):
    return bind(DDNM(**settings), operator, y, noise_level)


def test_dds_without_gamma_moves_x0_onto_the_measurement(operator, matrix, x0, y):
    # converged: the point nearest to x0 that fits the measurement
    expected = x0.flatten() + torch.linalg.pinv(matrix) @ (y[0] - matrix @ x0.flatten())
    found = dds(operator, y, iterations=20)(x0, 0.3)
    torch.testing.assert_close(found.flatten(), expected, atol=1e-3, rtol=0)


def test_dds_with_gamma_solves_equation_16(operator, matrix, x0, y):
    expected = torch.linalg.solve(2.5 * matrix.T @ matrix + torch.eye(12), 2.5 * matrix.T @ y[0] + x0.flatten())
    found = dds(operator, y, iterations=12, gamma=2.5)(x0, 0.3)
    torch.testing.assert_close(found.flatten(), expected, atol=1e-4, rtol=0)


def test_dds_iterations_and_tolerance(operator, x0, y):
    def residual(**settings):
        return float((operator(dds(operator, y, **settings)(x0, 0.3)) - y).norm())

    one, three, exact = (residual(iterations=count) for count in (1, 3, 20))
    assert one > 1.5 * three > 0
    assert exact < three / 10
    assert exact < residual(iterations=20, rtol=0.1) < float((operator(x0) - y).norm())


def test_another_solver_with_scalars_per_slice(x0, own_steps):
    # an operator that works slice by slice, and a solver that solves each slice as if it were alone
    weights = torch.rand(3, 4, generator=torch.Generator().manual_seed(3))

    def slicewise(count):
        forward, adjoint = lambda x: x.flatten(1) @ weights.T, lambda y: (y @ weights).view(count, 2, 2)
        return ForeignOperator((forward, adjoint), domain_shape=(count, 2, 2), range_shape=(count, 3))

    y = torch.rand(1, 3, 3, generator=torch.Generator().manual_seed(4))
    together = bind(DDS(solver=own_steps(1)), slicewise(3), y)(x0, 0.3)
    for index in range(3):
        part = slice(index, index + 1)
        alone = dds(slicewise(1), y[:, part], iterations=1)(x0[:, part], 0.3)
        torch.testing.assert_close(together[:, part], alone)
    coupled = dds(slicewise(3), y, iterations=1)(x0, 0.3)
    assert (coupled - together).abs().max() > 1e-3


def test_channels_are_met_together(operator, x0, y):
    both = torch.cat([x0, 1 - x0]), torch.cat([y, 2 * y])
    for step, tolerance in ((dds(operator, both[1], iterations=40), 1e-3), (ddnm(operator, both[1], **MANY), 1e-2)):
        torch.testing.assert_close(operator(step(both[0], 0.3)), both[1], atol=tolerance, rtol=0)


def test_dds_at_zero_residual_returns_x0(operator, x0):
    for gamma in (None, 3.0):
        found = dds(operator, operator(x0), iterations=30, gamma=gamma)(x0, 0.3)
        torch.testing.assert_close(found, x0, atol=1e-6, rtol=0)


def test_dds_backprojects_once(matrix, x0, y):
    calls = []

    def adjoint(measurement):
        calls.append(measurement)
        return (matrix.T @ measurement).view(SHAPE)

    operator = ForeignOperator((lambda x: matrix @ x.flatten(), adjoint), domain_shape=SHAPE, range_shape=(5,))
    operator(x0)  # its adjoint is tested, once
    calls.clear()
    step = dds(operator, y, iterations=2)
    assert len(calls) == 1
    step(x0, 0.3)
    assert not any(torch.equal(measurement, y[0]) for measurement in calls[1:])


def test_dds_refuses_an_unmatched_operator(matrix, y, x0):
    operator = scanner(matrix, matched=False)
    with pytest.raises(InputError, match=r"operator: found ForeignOperator, .*matched"):
        bind(DDS(), operator, y)
    bind(DDS(allow_unmatched=True), operator, y)(x0, 0.3)
    bind(DDNM(), operator, y)(x0, 0.3)


@pytest.mark.parametrize("make", [ConjugateGradient, DDNM])
def test_an_iteration_is_needed(make):
    with pytest.raises(InputError, match=r"iterations.*: found 0"):
        make(iterations=0)


def test_ddnm_is_equation_14(operator, matrix, x0, y):
    operator.pseudo_inverse = inverse_of(matrix)
    pseudo_inverse = torch.linalg.pinv(matrix)
    expected = x0.flatten() - pseudo_inverse @ matrix @ x0.flatten() + pseudo_inverse @ y[0]
    torch.testing.assert_close(ddnm(operator, y)(x0, 0.3).flatten(), expected, atol=1e-4, rtol=0)


def test_ddnm_takes_the_operator_s_own_pseudo_inverse(operator, matrix, x0, y):
    operator.pseudo_inverse = inverse_of(matrix)
    found = ddnm(operator, y)(x0, 0.3)
    torch.testing.assert_close(found, x0 + operator.pseudo_inverse(y - operator(x0)))


def test_ddnm_with_sirt_meets_the_measurement(operator, x0, y):
    found = ddnm(operator, y, iterations=1000, rtol=0)(x0, 0.3)
    assert (operator(found) - y).abs().max() < 1e-2
    torch.testing.assert_close(found, x0 + SIRT(operator, iterations=1000, rtol=0)(y - operator(x0)))
    torch.testing.assert_close(ddnm(operator, operator(x0))(x0, 0.3), x0, atol=1e-6, rtol=0)


@pytest.mark.parametrize("step", [dds, ddnm])
def test_smoothing_binds_the_correction_to_smooth_ones(step, matrix, x0, y):
    # converged: a volume that fits the measurement and whose difference to x0 is smooth across slices
    matrix, y = matrix[:2], y[:, :2]
    operator = scanner(matrix, resolution=(2.0, 1.0, 1.0))
    found = step(operator, y, smoothing=0.6, **MANY)(x0, 0.3)
    torch.testing.assert_close(operator(found), y, atol=1e-4, rtol=0)
    smoothing = GaussianSmoothing(SHAPE, std=1.2, axis=0)
    smooth = smoothing(torch.eye(12).view(12, *SHAPE)).reshape(12, 12)
    if step is dds:
        expected = smooth @ torch.linalg.pinv(matrix @ smooth) @ (y[0] - matrix @ x0.flatten())
        torch.testing.assert_close((found - x0).flatten(), expected, atol=1e-4, rtol=0)
    free = step(operator, y, **MANY)(x0, 0.3)
    rough = [torch.linalg.solve(smooth, (result - x0).flatten()).norm() for result in (found, free)]
    assert rough[0] < 0.9 * rough[1]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_smoothing_follows_the_slices_axis(axis, matrix, x0, y):
    operator = scanner(matrix[:2], resolution=(2.0, 1.0, 1.5))
    solver = ConjugateGradient(smoothing=0.6, **MANY)
    step = DDS(solver=solver).bind(Measurement(y[:, :2], operator, noise_level=0.0), axis)
    std = 0.6 * operator.resolution[axis]
    smooth = GaussianSmoothing(SHAPE, std=std, axis=axis)(torch.eye(12).view(12, *SHAPE)).reshape(12, 12)
    expected = smooth @ torch.linalg.pinv(matrix[:2] @ smooth) @ (y[0, :2] - matrix[:2] @ x0.flatten())
    torch.testing.assert_close((step(x0, 0.3) - x0).flatten(), expected, atol=1e-4, rtol=0)


def test_plane_smoothing_where_samples_are_far_apart(matrix, x0, y):
    matrix, y = matrix[:2], y[:, :2]
    operator = scanner(matrix, resolution=(2.0, 1.5, 1.0))
    found = dds(operator, y, iterations=2000, plane_smoothing=0.4)(x0, 0.3)
    smooth = GaussianSmoothing(SHAPE, std=0.6, axis=1)(torch.eye(12).view(12, *SHAPE)).reshape(12, 12)
    expected = smooth @ torch.linalg.pinv(matrix @ smooth) @ (y[0] - matrix @ x0.flatten())
    torch.testing.assert_close((found - x0).flatten(), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("step", [dds, ddnm])
def test_smoothing_has_no_meaning_without_a_resolution(step, operator, x0, y):
    torch.testing.assert_close(step(operator, y, smoothing=0.6)(x0, 0.3), step(operator, y)(x0, 0.3), atol=0, rtol=0)


@pytest.mark.parametrize("make", [ConjugateGradient, DDNM])
@pytest.mark.parametrize("name", ["smoothing", "rtol"])
def test_impossible_settings_are_refused(make, name):
    for value in (-1, float("nan")):
        with pytest.raises(InputError, match=f"{name}.*: found .*{value}.*, expected.* at least 0|{name} >= 0"):
            make(**{name: value})
    with pytest.raises(InputError, match="plane_smoothing: found -1, expected at least 0"):
        ConjugateGradient(plane_smoothing=-1)


def test_smoothing_replaces_an_exact_pseudo_inverse(operator, matrix, x0, y):
    """S (A S)⁺ is another correction than A⁺."""
    operator = scanner(matrix, resolution=(2.0, 1.0, 1.0))
    operator.pseudo_inverse = inverse_of(matrix)
    smoother = GaussianSmoothing(SHAPE, std=1.2, axis=0)
    expected = x0 + smoother(SIRT(operator @ smoother, iterations=50, rtol=0)(y - operator(x0)))
    torch.testing.assert_close(ddnm(operator, y, smoothing=0.6, iterations=50, rtol=0)(x0, 0.3), expected)


@pytest.mark.parametrize("step", [dds, ddnm])
@pytest.mark.parametrize("smoothing", [0.0, 0.6])
def test_a_noisy_measurement_is_met_up_to_its_noise(step, smoothing, matrix, x0, y):
    operator = scanner(matrix, resolution=(2.0, 1.0, 1.0))
    before = float((operator(x0) - y).norm())

    def residual(count, level, discrepancy=True):
        settings = {"rtol": 0.0, "smoothing": smoothing, "noise_level": level, "discrepancy": discrepancy}
        return float((operator(step(operator, y, iterations=count, **settings)(x0, 0.3)) - y).norm())

    level = 0.3 * before / 5**0.5
    if step is dds:
        assert residual(2000, level) == pytest.approx(0.3 * before, rel=1e-4)
    else:  # SIRT stops after the iteration that reaches it
        count = next(n for n in range(1, 2000) if residual(n, 0.0) <= 0.3 * before)
        assert residual(2000, level) == pytest.approx(residual(count, 0.0), rel=1e-4)
    assert residual(2000, level, discrepancy=False) == residual(2000, 0.0) < residual(2000, level)
    assert residual(2000, 1.01 * before / 5**0.5) == before


@pytest.mark.parametrize("smoothing", [0.0, 0.6])
def test_with_an_error_dds_is_the_posterior_mean(smoothing, matrix, x0, y):
    """Of x ~ N(x0, (error sigma)² S Sᵀ) given y = A x + N(0, noise level²)."""
    operator = scanner(matrix, resolution=(2.0, 1.0, 1.0))
    solver = ConjugateGradient(smoothing=smoothing, **MANY)
    found = bind(DDS(solver=solver, error=1.5), operator, y, noise_level=0.2)(x0, 0.3)
    smooth = torch.eye(12)
    if smoothing:
        smooth = GaussianSmoothing(SHAPE, std=1.2, axis=0)(smooth.view(12, *SHAPE)).reshape(12, 12)
    prior = (1.5 * 0.3) ** 2 * smooth @ smooth.T
    gain = prior @ matrix.T @ torch.linalg.inv(matrix @ prior @ matrix.T + 0.2**2 * torch.eye(5))
    expected = x0.flatten() + gain @ (y[0] - matrix @ x0.flatten())
    torch.testing.assert_close(found.flatten(), expected, atol=1e-4, rtol=0)


def test_with_an_error_a_measurement_without_noise_is_met_as_ever(operator, x0, y):
    exact = ConjugateGradient(iterations=4)
    expected = bind(DDS(solver=exact), operator, y)(x0, 0.3)
    assert not torch.equal(expected, x0)
    posterior = DDS(solver=ConjugateGradient(iterations=2, rtol=0.1), error=2.0, exact=exact)
    assert torch.equal(bind(posterior, operator, y)(x0, 0.3), expected)
    smoothed = posterior.smoothed(0.4)
    assert (smoothed.solver.smoothing, smoothed.exact.smoothing) == (0.4, 0.4)


@pytest.mark.parametrize("sigma", [0.002, 0.02, 0.05])
def test_the_ramp_filter_brings_the_posterior_mean_sooner(sigma):
    """The same limit, in fewer iterations; on a cone-beam scan with its noise."""
    grid = Grid.centered((32, 32, 4), (6.0, 6.0, 6.0))
    volume = torch.zeros(1, 32, 32, 4)
    volume[:, 8:24, 10:20] = 0.4
    volume[:, 14:18, 12:15, 1:3] = 0.6
    measurement = ConeBeamScan(views=20).simulate(volume, grid)
    measurement = measurement.changed(noise_level=0.02)
    x0 = volume + 0.05 * torch.randn(volume.shape, generator=torch.Generator().manual_seed(0))

    def found(iterations, ramp):
        solver = ConjugateGradient(iterations=iterations, smoothing=0.5, ramp=ramp)
        return DDS(solver=solver, error=2.0).bind(measurement, 2)(x0, sigma)

    limit = found(120, 0.0)
    torch.testing.assert_close(found(120, 0.3), limit, atol=2e-4, rtol=0)
    errors = [float((found(4, ramp) - limit).norm()) for ramp in (0.0, 0.3)]
    assert errors[1] < 0.95 * errors[0]


def test_an_error_is_one_of_three_weights():
    for settings in ({"gamma": 1.0}, {"discrepancy": True}):
        with pytest.raises(InputError, match=r"error: found 2\.0 with gamma or discrepancy, expected one of them"):
            DDS(error=2.0, **settings)
    with pytest.raises(InputError, match=r"error: found 0\.0, expected above 0"):
        DDS(error=0.0)
    assert DDS(error=2.0).to_the_noise() == DDS(error=2.0)


def test_an_exact_pseudo_inverse_goes_as_far_as_the_noise(operator, matrix, x0, y):
    operator.pseudo_inverse = inverse_of(matrix)
    found = ddnm(operator, y, noise_level=0.1, discrepancy=True)(x0, 0.3)
    assert float((operator(found) - y).norm()) == pytest.approx(0.1 * 5**0.5, rel=1e-4)


def test_an_unused_noise_level_is_not_estimated(operator, y):
    """The estimate takes time, and refuses what is not an image: it is only computed when used."""

    class Unknown(Measurement):
        @property
        def noise_level(self):
            raise AssertionError

    for consistency in (DDS(), DDS(gamma=1.0), DDNM(), DDSTV()):
        consistency.bind(Unknown(y, operator), 0)


@pytest.mark.parametrize("make", [DDS, DDSTV])
def test_one_weight_of_the_measurement_is_enough(make):
    with pytest.raises(InputError, match=r"gamma: found 1\.0 with discrepancy, expected one of them"):
        make(gamma=1.0, discrepancy=True)
    with pytest.raises(InputError, match=r"gamma: found 1\.0 with discrepancy"):
        make(gamma=1.0).to_the_noise()
    for gamma in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match=f"gamma: found {gamma}"):
            make(gamma=gamma)


def test_a_noisy_measurement_still_gets_its_total_variation(operator, x0, y):
    found = bind(DDSTV(discrepancy=True, lam=5.0), operator, y, noise_level=0.3)
    rough = [float(x.diff(dim=1).abs().sum()) for x in (x0, [found(x0, 0.3) for _ in range(30)][-1])]
    assert rough[1] < 0.9 * rough[0]


def test_settings_that_a_step_does_not_have_are_refused():
    assert DDS().smoothed(0.3) == DDS(solver=ConjugateGradient(smoothing=0.3))
    assert DDNM().smoothed(0.3) == DDNM(smoothing=0.3)
    assert DDSTV().smoothed(0.3) == DDSTV(solver=ConjugateGradient(smoothing=0.3))
    for step in (DDS(), DDNM(), DDSTV()):
        assert step.to_the_noise() == replace(step, discrepancy=True)
