# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.solvers import conjugate_gradient

MATRIX = torch.tensor([[4.0, 1.0, 0.0], [1.0, 3.0, -1.0], [0.0, -1.0, 2.0]], dtype=torch.float64)
B = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)


def times(x: torch.Tensor) -> torch.Tensor:
    return x @ MATRIX


def test_first_step_is_steepest_descent():
    expected = B * (B @ B) / (B @ MATRIX @ B)
    torch.testing.assert_close(conjugate_gradient(times, B, iterations=1), expected)


def test_n_steps_solve_n_unknowns():
    torch.testing.assert_close(conjugate_gradient(times, B, iterations=3), torch.linalg.solve(MATRIX, B))


def test_far_more_steps_than_unknowns_keep_the_solution():
    for dtype in (torch.float32, torch.float64):
        A, b = MATRIX.to(dtype), B.to(dtype)
        torch.testing.assert_close(
            conjugate_gradient(lambda x, A=A: x @ A, b, iterations=200), torch.linalg.solve(A, b)
        )


def test_an_exact_start_stays_exact():
    x = torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64)
    assert torch.equal(conjugate_gradient(times, times(x), x, iterations=50), x)
    assert torch.equal(conjugate_gradient(times, torch.zeros_like(B), iterations=50), torch.zeros_like(B))


def test_a_singular_system_does_not_drift_in_the_null_space():
    low_rank = torch.rand(40, 5, generator=torch.Generator().manual_seed(0))
    A = low_rank @ low_rank.T
    truth = torch.rand(40, generator=torch.Generator().manual_seed(1))
    b = A @ truth
    x = conjugate_gradient(lambda x: A @ x, b, iterations=500)
    torch.testing.assert_close(x, torch.linalg.pinv(A.double(), rtol=1e-6).float() @ b, rtol=1e-2, atol=1e-2)


def test_zero_iterations_copy_the_start():
    x0 = torch.rand(3, dtype=torch.float64)
    x = conjugate_gradient(times, B, x0, iterations=0)
    assert torch.equal(x, x0)
    assert x.data_ptr() != x0.data_ptr()


def test_arguments_are_left_alone():
    b, x0 = B.clone(), torch.ones_like(B)
    conjugate_gradient(lambda x: x, b, x0, iterations=3)  # the identity returns the same tensor
    assert torch.equal(b, B)
    assert torch.equal(x0, torch.ones_like(B))


def test_batch_dims_are_independent_systems():
    b = torch.stack([B.float(), torch.tensor([50.0, 0.0, 0.0]), torch.zeros(3)]).double()
    together = conjugate_gradient(times, b, iterations=2, batch_dims=1)
    apart = torch.stack([conjugate_gradient(times, row, iterations=2) for row in b])
    torch.testing.assert_close(together, apart)
    joint = conjugate_gradient(times, b, iterations=2)
    assert not torch.allclose(joint, apart)


def test_fixed_count_and_early_stop():
    calls = []

    def counted(x):
        calls.append(1)
        return times(x)

    conjugate_gradient(counted, B, iterations=7)
    assert len(calls) == 7
    calls.clear()
    x = conjugate_gradient(counted, B, iterations=50, rtol=1e-6)
    assert len(calls) == 3
    assert (B - times(x)).norm() <= 1e-6 * B.norm()


def test_a_fixed_count_never_waits_for_the_device():
    """A meta tensor has no values: reading one would raise."""
    b = B.to("meta")
    x = conjugate_gradient(lambda x: x @ MATRIX.to("meta"), b, iterations=3, rtol=0)
    assert (x.device.type, x.shape) == ("meta", b.shape)
    with pytest.raises(RuntimeError, match="meta"):
        conjugate_gradient(lambda x: x @ MATRIX.to("meta"), b, iterations=3, rtol=1e-3)


def test_differentiable():
    b = B.clone().requires_grad_()
    conjugate_gradient(times, b, iterations=3).sum().backward()
    torch.testing.assert_close(b.grad, torch.linalg.solve(MATRIX, torch.ones_like(B)), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("bad", [{"iterations": -1}, {"rtol": -1.0}, {"enough": float("nan")}, {"batch_dims": 2}])
def test_bad_arguments(bad):
    with pytest.raises(InputError, match=f"^{next(iter(bad))}: found .*, expected"):
        conjugate_gradient(times, B, **bad)
    with pytest.raises(InputError, match="x0: found shape"):
        conjugate_gradient(times, B, torch.zeros(2))


def test_preconditioner_keeps_the_steps_in_its_range():
    """A singular system has many solutions: the one found differs from x0 by an element of the range of M."""
    generator = torch.Generator().manual_seed(5)
    A = torch.randn(3, 8, generator=generator, dtype=torch.float64)
    S = torch.randn(8, 5, generator=generator, dtype=torch.float64)
    x0, y = torch.randn(8, generator=generator, dtype=torch.float64), torch.rand(3, dtype=torch.float64)
    found = conjugate_gradient(
        lambda x: A.T @ (A @ x), A.T @ y, x0, iterations=12, preconditioner=lambda r: S @ (S.T @ r)
    )
    torch.testing.assert_close(found, x0 + S @ torch.linalg.pinv(A @ S) @ (y - A @ x0))


def test_the_inverse_as_preconditioner_needs_one_step():
    generator = torch.Generator().manual_seed(6)
    root = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    A, b = root @ root.T + torch.eye(6, dtype=torch.float64), torch.randn(6, generator=generator, dtype=torch.float64)
    solution = torch.linalg.solve(A, b)
    found = conjugate_gradient(lambda x: A @ x, b, iterations=1, preconditioner=lambda r: torch.linalg.solve(A, r))
    torch.testing.assert_close(found, solution)


def test_stops_once_the_objective_has_fallen_enough():
    """For normal equations x'AAx - 2b'x is the squared residual minus that of zero."""
    generator = torch.Generator().manual_seed(7)
    A, y = torch.randn(9, 6, generator=generator).double(), torch.randn(9, generator=generator).double()
    x0 = torch.randn(6, generator=generator).double()

    def squared_residual(x):
        return float((A @ x - y).square().sum())

    def run(**stop):
        return conjugate_gradient(lambda x: A.T @ (A @ x), A.T @ y, x0, **stop)

    start, end = (squared_residual(run(iterations=count)) for count in (0, 50))
    for share in (0.9, 0.5, 0.1, 0.01):
        target = end + share * (start - end)
        assert squared_residual(run(iterations=50, enough=start - target)) == pytest.approx(target)
    assert torch.equal(run(iterations=50, enough=0.0), x0)
    assert torch.equal(run(iterations=50, enough=-1.0), x0)


def test_enough_is_for_every_system():
    b = torch.stack([B, 10 * B, torch.zeros(3)])
    x = conjugate_gradient(times, b, iterations=3, batch_dims=1, enough=1.5)
    torch.testing.assert_close(-(x * times(x) - 2 * b * x).sum(1), torch.tensor([1.5, 1.5, 0.0]).double())
