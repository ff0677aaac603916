# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from scipy.optimize import minimize

from monai_iscs.classical import ADMMTV, admm_tv
from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector, Differences, ForeignOperator
from monai_iscs.scans import Measurement
from monai_iscs.solvers import SIRT, voxel_weight


def identity(shape):
    return ForeignOperator((lambda x: x, lambda y: y), domain_shape=shape, range_shape=shape)


def scan(views=6) -> ConeBeamProjector:
    geometry = ConeBeamGeometry.circular(
        views=views,
        source_to_isocenter=700.0,
        source_to_detector=1200.0,
        detector_shape=(8, 32),
        detector_pitch=(16.0, 14.0),
    )
    return ConeBeamProjector(geometry, Grid.centered((16, 16, 4), (12.0, 12.0, 12.0)))


@pytest.fixture(scope="module")
def phantom():
    """Boxes of constant value in air, in the prior's units."""
    x = torch.zeros(16, 16, 4)
    x[3:13, 2:14, 1:4] = 0.4
    x[5:8, 5:10, 2:3] = 0.0
    x[9:12, 6:9, 1:4] = 0.9
    return x


def rmse(x, truth):
    return float((x - truth).square().mean().sqrt())


def objective(A, x, y, lam):
    weight = voxel_weight(A, y)
    return float((A(x) - y).square().sum() / 2 + lam * weight * Differences(x.shape)(x).norm(dim=0).sum())


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_denoises_a_step_in_closed_form(scale):
    # lam is taken from the outer voxels of each plateau and shared by all of it: 2, 2, 2 | 8, 8 with lam = 0.6
    y = torch.tensor([2.0, 2.0, 2.0, 8.0, 8.0])
    x = ADMMTV(scale * identity((5,)), lam=0.6, iterations=80, rtol=1e-6)(scale * y)
    torch.testing.assert_close(x, torch.tensor([2.2, 2.2, 2.2, 7.7, 7.7]), atol=1e-3, rtol=0)


def test_agrees_with_a_general_purpose_solver():
    # one dimension: |D x| split in its positive and negative part makes a bound-constrained smooth problem
    generator = torch.Generator().manual_seed(0)
    matrix = torch.rand(5, 7, generator=generator, dtype=torch.float64)
    y = torch.rand(5, generator=generator, dtype=torch.float64)
    A = ForeignOperator((lambda x: matrix @ x, lambda v: matrix.T @ v), domain_shape=(7,), range_shape=(5,))
    threshold = 0.02 * voxel_weight(A, y)
    steps = matrix.numpy() @ torch.ones(7, 7, dtype=torch.float64).tril().numpy()  # A of the cumulative sum

    def value(v):
        first, up, down = v[:1], v[1:7], v[7:]
        residual = steps[:, :1] @ first + steps[:, 1:] @ (up - down) - y.numpy()
        return 0.5 * residual @ residual + threshold * (up + down).sum()

    best = minimize(value, torch.zeros(13).numpy(), bounds=[(None, None)] + [(0, None)] * 12, options={"ftol": 1e-14})
    found = ADMMTV(A, lam=0.02, iterations=200, cg_iterations=10, rtol=1e-6)(y)
    total = float((A(found) - y).square().sum() / 2 + threshold * found.diff().abs().sum())
    assert total == pytest.approx(best.fun, rel=1e-4)


def test_a_box_from_few_views_beats_sirt_and_follows_the_objective_down(phantom):
    A = scan()
    y = A(phantom)
    lam = 0.003
    goal, *ladder = (ADMMTV(A, lam=lam, iterations=count, rtol=0, non_negative=True)(y) for count in (80, 4, 10, 25))
    assert rmse(goal, phantom) < 0.4 * rmse(SIRT(A, non_negative=True, rtol=0)(y), phantom)
    gaps = [objective(A, x, y, lam) - objective(A, goal, y, lam) for x in ladder]
    assert gaps[0] > gaps[1] > gaps[2] > -1e-3 * objective(A, goal, y, lam)
    # the default stops near the minimum
    default = ADMMTV(A, non_negative=True)(y)
    assert rmse(default, goal) < 0.1 * rmse(goal, torch.zeros(()))


def test_lambda_means_the_same_for_other_units_and_views(phantom):
    one, scaled, more = (ADMMTV(A, iterations=20, rtol=0)(A(phantom)) for A in (scan(), 0.01 * scan(), scan(views=24)))
    torch.testing.assert_close(scaled, one, atol=1e-3, rtol=0)
    variation = [float(Differences(x.shape)(x).norm(dim=0).sum()) for x in (one, more)]
    assert variation[1] == pytest.approx(variation[0], rel=0.15)


def test_penalty_and_start_only_change_the_way(phantom):
    A = scan()
    y = A(phantom)
    settings = {"iterations": 80, "rtol": 1e-3}
    expected = ADMMTV(A, **settings)(y)
    for rho, x0 in ((0.02, None), (3.0, 1 - phantom)):
        assert rmse(ADMMTV(A, rho=rho, **settings)(y, x0), expected) < 0.03 * rmse(expected, torch.zeros(()))


def test_non_negative(phantom):
    A = scan()
    y = A(phantom - 0.2)
    free, bound = (ADMMTV(A, iterations=20, non_negative=flag)(y) for flag in (False, True))
    assert free.min() < -0.1
    assert bound.min() == 0


def test_stops_when_both_residuals_are_small(phantom):
    calls = []
    pair = (lambda x: calls.append(x) or x, lambda y: y)
    A = ForeignOperator(pair, domain_shape=phantom.shape, range_shape=phantom.shape)
    ADMMTV(A, iterations=10, rtol=0)(phantom)
    every = len(calls)
    ADMMTV(A, iterations=10, rtol=0.5)(phantom)
    assert len(calls) - every < every / 2
    assert torch.equal(ADMMTV(A)(torch.zeros_like(phantom)), torch.zeros_like(phantom))


def test_each_volume_is_solved_as_if_alone(phantom):
    A = scan(views=4)
    y = A(torch.stack([phantom, 0.1 * phantom.flip(0)]))[:, None]
    together = ADMMTV(A, iterations=3)(y)
    assert together.shape == (2, 1, *phantom.shape)
    torch.testing.assert_close(together[1, 0], ADMMTV(A, iterations=3)(y[1, 0]))


def test_a_noise_level_keeps_the_noise_out(phantom):
    A = scan(views=20)
    clean = A(phantom)
    level = 0.03 * float(clean.max())
    y = clean + level * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    plain, told = (ADMMTV(A, noise_level=given)(y) for given in (0.0, level))
    assert rmse(told, phantom) < 0.7 * rmse(plain, phantom)
    # lam is the minimum: weaker noise changes nothing
    assert torch.equal(ADMMTV(A, lam=0.1, noise_level=1e-4 * level)(y), ADMMTV(A, lam=0.1)(y))


def test_the_noise_s_weight_means_the_same_for_other_units():
    y = 0.5 + 0.1 * torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
    A = identity((16, 16))
    one, scaled = ADMMTV(A, noise_level=0.1)(y), ADMMTV(30.0 * A, noise_level=3.0)(30 * y)
    torch.testing.assert_close(scaled, one, atol=1e-4, rtol=0)
    assert one.std() < 0.1 * y.std()


def test_of_a_measurement(phantom):
    """Without negative values, and with the measurement's noise level."""
    A = 2.0 * scan()
    y = A(phantom - 0.2)[None]
    noisy = admm_tv(Measurement(y, A, noise_level=0.3), iterations=5)
    assert torch.equal(noisy, ADMMTV(A, non_negative=True, noise_level=0.3, iterations=5)(y))
    clean = admm_tv(Measurement(y, A, noise_level=0.0), iterations=5)
    assert torch.equal(clean, ADMMTV(A, non_negative=True, iterations=5)(y))
    assert (noisy - clean).abs().max() > 0.01
    measured = Measurement(y, A)
    assert torch.equal(
        admm_tv(measured, iterations=2), admm_tv(measured.changed(noise_level=measured.noise_level), iterations=2)
    )


@pytest.mark.parametrize("bad", [{"lam": -1.0}, {"iterations": 0}, {"cg_iterations": 0}, {"rtol": -1.0}, {"rho": 0.0}])
def test_bad_arguments(bad):
    with pytest.raises(InputError, match=f"^{next(iter(bad))}: found {next(iter(bad.values()))}, expected"):
        ADMMTV(identity((4,)), **bad)
    with pytest.raises(InputError, match="relaxation: found 2"):
        ADMMTV(identity((4,)), relaxation=2)
    with pytest.raises(InputError, match="noise_level: found -1"):
        ADMMTV(identity((4,)), noise_level=-1.0)


def test_an_unmatched_operator_is_refused():
    pair = (lambda x: x, lambda y: y)
    with pytest.raises(InputError, match="matched"):
        ADMMTV(ForeignOperator(pair, domain_shape=(4,), range_shape=(4,), matched=False))
