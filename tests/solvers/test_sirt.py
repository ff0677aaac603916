# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.operators import ForeignOperator
from monai_iscs.solvers import SIRT


class Counted:
    """A matrix that counts its applications."""

    def __init__(self, rows: list[list[float]]) -> None:
        self.matrix = torch.tensor(rows, dtype=torch.float64)
        self.calls = self.backprojections = 0
        pair = (self._there, self._back)
        self.operator = ForeignOperator(pair, domain_shape=[len(rows[0])], range_shape=[len(rows)])
        self.operator(self.matrix[0])  # its adjoint is tested, once
        self.calls = self.backprojections = 0

    def _there(self, x):
        self.calls += 1
        return self.matrix @ x

    def _back(self, y):
        self.backprojections += 1
        return self.matrix.T @ y


def test_converges_to_the_weighted_least_squares_solution():
    rows = [[2.0, 1.0], [1.0, 3.0], [0.5, 0.5]]
    A = Counted(rows)
    y = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)  # inconsistent
    x = SIRT(A.operator, iterations=500, rtol=0)(y)
    R = torch.diag(1 / A.matrix.sum(1))
    torch.testing.assert_close(x, torch.linalg.solve(A.matrix.T @ R @ A.matrix, A.matrix.T @ R @ y))


def test_converges_to_the_minimum_norm_solution():
    A = Counted([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])  # equal column sums: the plain norm
    y = torch.tensor([2.0, -6.0], dtype=torch.float64)
    x = SIRT(A.operator, iterations=300, rtol=0)(y)
    torch.testing.assert_close(x, torch.linalg.pinv(A.matrix) @ y)


def test_stops_when_the_residual_settles():
    A = Counted([[2.0, 1.0], [1.0, 3.0]])
    y = A.matrix @ torch.tensor([1.0, -1.0], dtype=torch.float64)
    x = SIRT(A.operator, iterations=1000, rtol=1e-6)(y)
    assert 5 < A.calls < 100
    torch.testing.assert_close(A.matrix @ x, y, rtol=1e-4, atol=1e-4)


def test_stops_at_the_level_of_the_noise():
    A = Counted([[2.0, 1.0], [1.0, 3.0]])
    y = A.matrix @ torch.tensor([1.0, -1.0], dtype=torch.float64)

    def residual(count):
        x = SIRT(A.operator, iterations=count, rtol=0, stop_residual=0.05)(y)
        return float((A.matrix @ x - y).norm() / y.norm())

    settled = residual(1000)
    assert 0.05 / 2 < settled < 0.05
    last = next(count for count in range(1, 1000) if residual(count) == settled)
    assert residual(last - 1) > 0.05
    at_call = SIRT(A.operator, iterations=1000, rtol=0)(y, stop_residual=0.05)
    torch.testing.assert_close(at_call, SIRT(A.operator, iterations=1000, rtol=0, stop_residual=0.05)(y))


def test_nothing_is_computed_twice_or_for_nothing():
    """The sums once, no residual for a zero start, and none after the last iteration."""
    A = Counted([[2.0, 1.0], [1.0, 3.0]])
    sirt = SIRT(A.operator, iterations=4, rtol=0)
    y = torch.ones(2, dtype=torch.float64)
    first = sirt(y)
    assert (A.calls, A.backprojections) == (4, 5)
    assert torch.equal(sirt(y), first)
    assert (A.calls, A.backprojections) == (7, 9)


def test_start_and_scale():
    A = Counted([[2.0, 1.0], [1.0, 3.0]])
    truth = torch.tensor([0.3, 0.7], dtype=torch.float64)
    x0 = truth.clone()
    torch.testing.assert_close(SIRT(A.operator)(A.matrix @ truth, x0), truth)
    assert torch.equal(x0, truth)
    y = torch.tensor([1.0, 4.0], dtype=torch.float64)
    scaled = SIRT(0.052 * A.operator, iterations=20, rtol=0)(0.052 * y)
    torch.testing.assert_close(scaled, SIRT(A.operator, iterations=20, rtol=0)(y))


def test_non_negative():
    A = Counted([[2.0, 1.0], [1.0, 3.0]])
    y = A.matrix @ torch.tensor([1.0, -1.0], dtype=torch.float64)
    assert SIRT(A.operator, iterations=50, rtol=0)(y).min() < -0.9
    assert SIRT(A.operator, iterations=50, rtol=0, non_negative=True)(y).min() == 0


def test_rays_and_voxels_outside_do_no_harm(projector):
    A = projector
    x = torch.zeros(A.domain_shape)
    x[6:14, 7:13, 8:12] = 1
    y = A(x)
    once, often = (SIRT(A, iterations=n, rtol=0)(y[None]) for n in (2, 20))
    assert once.isfinite().all()
    assert (A(often) - y).norm() < 0.5 * (A(once) - y).norm()
    assert SIRT(A)(torch.zeros_like(y)).abs().max() == 0


@pytest.mark.parametrize(
    "bad", [{"iterations": 0}, {"relaxation": 0.0}, {"relaxation": 2.0}, {"rtol": -1.0}, {"stop_residual": -1.0}]
)
def test_bad_arguments(bad, projector):
    with pytest.raises(InputError, match=f"^{next(iter(bad))}: found .*, expected"):
        SIRT(projector, **bad)


@pytest.mark.parametrize("scale", [-1.0, -0.052])
def test_negative_entries_are_refused(scale, projector):
    """Their weights would be 0, and the result an empty volume."""
    A = scale * projector
    with pytest.raises(
        InputError, match=r"operator: found rows of ConeBeamProjector that sum to -.*, expected entries of at least 0"
    ):
        SIRT(A)(torch.ones(A.range_shape))
