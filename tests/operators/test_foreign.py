# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.operators import ForeignOperator

MATRIX = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))


class Physics:
    """Like deepinv's linear physics: batched, with parameters in the graph."""

    def __init__(self) -> None:
        self.weight = MATRIX.clone().requires_grad_()

    def A(self, x):  # noqa: N802
        return x @ self.weight.T

    def A_adjoint(self, y):  # noqa: N802
        return y @ self.weight


class Callable:
    """Like a tomosipo operator."""

    def __init__(self, matrix):
        self.matrix = matrix

    def __call__(self, x):
        return self.matrix @ x

    @property
    def T(self):
        return Callable(self.matrix.T)


FORMS = {
    "pair": ((lambda x: MATRIX @ x, lambda y: MATRIX.T @ y), False),
    "deepinv": (Physics(), True),
    "tomosipo": (Callable(MATRIX), False),
}


@pytest.mark.parametrize(("foreign", "batched"), FORMS.values(), ids=FORMS.keys())
def test_forms(foreign, batched):
    A = ForeignOperator(foreign, domain_shape=[3], range_shape=[4], batched=batched)
    x, y = torch.rand(2, 5, 3), torch.rand(4)
    torch.testing.assert_close(A(x), x @ MATRIX.T)
    torch.testing.assert_close(A.T(y), y @ MATRIX)
    assert A.matched
    x.requires_grad_()
    (0.5 * A(x).square().sum()).backward()
    torch.testing.assert_close(x.grad, x.detach() @ MATRIX.T @ MATRIX)


def test_unmatched_is_said():
    A = ForeignOperator(Callable(MATRIX), domain_shape=[3], range_shape=[4], matched=False)
    assert not A.matched
    assert not A.T.matched


def test_the_input_never_comes_back():
    A = ForeignOperator((lambda x: x, lambda y: y), domain_shape=[3], range_shape=[3], batched=True)
    x = torch.rand(3)
    y = A(x)
    y += 1
    assert not torch.equal(x, y)


def test_unknown_form_and_wrong_shape():
    with pytest.raises(InputError, match="foreign: found int, expected a pair"):
        ForeignOperator(3, domain_shape=[3], range_shape=[4])
    with pytest.raises(InputError, match="foreign: found function, expected a pair"):
        ForeignOperator(lambda x: x, domain_shape=[3], range_shape=[4])
    A = ForeignOperator(Callable(MATRIX), domain_shape=[3], range_shape=[5])
    with pytest.raises(InputError, match=r"foreign: found a result of shape \(4,\), expected \(5,\)"):
        A(torch.rand(3))


def test_a_claimed_adjoint_is_tested():
    """A factor, another matrix, a constant, a dropped row: each is found, and the message has the mismatch."""
    wrong = {
        "a factor": (lambda x: MATRIX @ x, lambda y: 1.01 * (MATRIX.T @ y)),
        "another matrix": (lambda x: MATRIX @ x, lambda y: MATRIX.flip(0).T @ y),
        "a constant": (lambda x: MATRIX @ x + 0.1, lambda y: MATRIX.T @ y),
        "nothing": (lambda x: MATRIX @ x, lambda y: 0 * (MATRIX.T @ y)),
        "something": (lambda x: 0 * (MATRIX @ x), lambda y: MATRIX.T @ y),
        "NaN": (lambda x: MATRIX @ x, lambda y: torch.nan * (MATRIX.T @ y)),
    }
    for name, pair in wrong.items():
        A = ForeignOperator(pair, domain_shape=[3], range_shape=[4])
        for use, given in ((A, torch.ones(3)), (A.T, torch.ones(4)), ((2 * A).normal, torch.ones(3))):
            with pytest.raises(InputError, match=r"foreign: found an adjoint .* differs .* by .* at most 0\.001"):
                use(given)
        told = ForeignOperator(pair, domain_shape=[3], range_shape=[4], matched=False)
        assert told(torch.ones(3)).shape == (4,), name


def test_an_exact_adjoint_is_tested_once_and_draws_no_random_numbers_of_the_user():
    calls = []
    pair = (lambda x: calls.append(1) or MATRIX @ x, lambda y: MATRIX.T @ y)
    A = ForeignOperator(pair, domain_shape=[3], range_shape=[4])
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    A(torch.ones(3))
    first = len(calls)
    A(torch.ones(3))
    assert len(calls) == first + 1
    assert torch.equal(torch.random.get_rng_state(), before)
    zero = ForeignOperator((lambda x: 0 * x, lambda y: 0 * y), domain_shape=[3], range_shape=[3])
    assert not zero(torch.ones(3)).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_is_no_mismatch(dtype):
    """A long sum of many rounded products in another order."""
    matrix = torch.randn(2000, 3000, generator=torch.Generator().manual_seed(0))
    pair = (lambda x: matrix @ x.float(), lambda y: matrix.T.contiguous() @ y.float())
    A = ForeignOperator(pair, domain_shape=[3000], range_shape=[2000])
    assert A(torch.ones(3000, dtype=dtype)).dtype == dtype


def test_a_complex_result_is_refused():
    pair = (lambda x: torch.fft.fft(x), lambda y: torch.fft.ifft(y).real)
    A = ForeignOperator(pair, domain_shape=[4], range_shape=[4], matched=False)
    with pytest.raises(InputError, match="foreign's result: found complex64, expected a real"):
        A(torch.rand(4))
