# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.operators import ForeignOperator, LinearOperator, operator_norm


class Matrix(LinearOperator):
    def __init__(self, matrix: torch.Tensor) -> None:
        self.matrix = matrix
        self.range_shape, self.domain_shape = (matrix.shape[0],), (matrix.shape[1],)

    def forward(self, x):
        return x @ self.matrix.T

    def adjoint(self, y):
        return y @ self.matrix


@pytest.fixture
def A() -> Matrix:  # noqa: N802
    return Matrix(torch.rand(4, 3, generator=torch.Generator().manual_seed(0)))


def test_call_transpose_and_normal(A):
    x, y = torch.rand(3), torch.rand(4)
    torch.testing.assert_close(A(x), A.matrix @ x)
    torch.testing.assert_close(A.T(y), A.matrix.T @ y)
    torch.testing.assert_close(A.normal(x), A.matrix.T @ A.matrix @ x)
    assert A.T.T is A
    assert A.T is A.T
    assert (A.T.domain_shape, A.T.range_shape) == ((4,), (3,))


def test_leading_dimensions(A):
    x = torch.rand(5, 2, 3)
    torch.testing.assert_close(A(x), x @ A.matrix.T)
    assert A(torch.rand(0, 3)).shape == (0, 4)


def test_scalar_multiple(A):
    B = -0.5 * A
    x, y = torch.rand(3), torch.rand(4)
    torch.testing.assert_close(B(x), -0.5 * A(x))
    torch.testing.assert_close(B.T(y), -0.5 * A.T(y))
    torch.testing.assert_close((2 * A.T)(y), 2 * A.T(y))
    assert B.T.T is B


def test_unmatched_is_passed_on(A):
    A.matched = False
    assert not A.T.matched
    assert not (2 * A).matched


def test_the_gradient_is_the_adjoint_to_any_order(A):
    x = torch.rand(3, requires_grad=True)
    (gradient,) = torch.autograd.grad(A(x).square().sum(), x, create_graph=True)
    torch.testing.assert_close(gradient, 2 * A.normal(x))
    (second,) = torch.autograd.grad(gradient.sum(), x)
    torch.testing.assert_close(second, 2 * A.normal(torch.ones(3)))


def test_a_wrong_shape_names_found_and_expected(A):
    with pytest.raises(InputError, match=r"the input of Matrix: found shape \(2, 5\), expected it to end in \(3,\)"):
        A(torch.rand(2, 5))
    with pytest.raises(
        InputError, match=r"the input of Matrix's adjoint: found shape \(3,\), expected it to end in \(4,\)"
    ):
        A.T(torch.rand(3))


def test_what_is_no_tensor_is_refused(A):
    with pytest.raises(InputError, match="the input of Matrix: found list, expected a tensor"):
        A([1.0, 2.0, 3.0])
    with pytest.raises(InputError, match="the input of Matrix's adjoint: found ndarray, expected a tensor"):
        A.T(np.zeros(4))


def test_operator_norm_is_the_largest_singular_value():
    matrix = torch.randn(12, 9, generator=torch.Generator().manual_seed(1))
    largest = torch.linalg.svdvals(matrix)[0]
    assert operator_norm(Matrix(matrix), iterations=200) == pytest.approx(float(largest), rel=1e-4)
    assert operator_norm(3 * Matrix(matrix).T, iterations=200) == pytest.approx(3 * float(largest), rel=1e-4)
    assert operator_norm(Matrix(torch.zeros(2, 2))) == 0


def test_operator_norm_repeats_itself():
    A = Matrix(torch.rand(6, 5))
    assert operator_norm(A, iterations=2) == operator_norm(A, iterations=2)
    other = operator_norm(A, iterations=1, generator=torch.Generator().manual_seed(5))
    assert other != operator_norm(A, iterations=1)
    with pytest.raises(InputError, match="iterations: found 0"):
        operator_norm(A, iterations=0)


def test_composition_is_the_product_with_its_adjoint():
    generator = torch.Generator().manual_seed(7)
    first, second = (torch.randn(*shape, generator=generator) for shape in ((4, 6), (3, 4)))

    def operator(matrix, **settings):
        pair = (lambda x: matrix @ x, lambda y: matrix.T @ y)
        return ForeignOperator(pair, domain_shape=matrix.shape[1:], range_shape=matrix.shape[:1], **settings)

    product = operator(second) @ operator(first)
    x, y = torch.randn(2, 6, generator=generator), torch.randn(2, 3, generator=generator)
    torch.testing.assert_close(product(x), x @ first.T @ second.T)
    torch.testing.assert_close(product.T(y), y @ second @ first)
    assert product.matched
    assert not (operator(second) @ operator(first, matched=False)).matched
    with pytest.raises(InputError, match=r"ForeignOperator @ ForeignOperator: found .* \(3,\) inside, expected \(4,\)"):
        operator(second) @ operator(second)
