# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.operators import ForeignOperator

MATRIX = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))


class Physics:
    """What deepinv's linear physics look like: batched, with parameters in the graph."""

    def __init__(self) -> None:
        self.weight = MATRIX.clone().requires_grad_()

    def A(self, x):  # noqa: N802
        return x @ self.weight.T

    def A_adjoint(self, y):  # noqa: N802
        return y @ self.weight


class Callable:
    """What a tomosipo operator looks like."""

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
    with pytest.raises(InputError, match="operator is int, expected a pair"):
        ForeignOperator(3, domain_shape=[3], range_shape=[4])
    with pytest.raises(InputError, match="operator is function"):
        ForeignOperator(lambda x: x, domain_shape=[3], range_shape=[4])
    A = ForeignOperator(Callable(MATRIX), domain_shape=[3], range_shape=[5])
    with pytest.raises(InputError, match=r"returned shape \(4,\), expected \(5,\)"):
        A(torch.rand(3))
