# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from functools import partial

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.operators import Differences, ForeignOperator, soft_threshold
from monai_iscs.solvers import ADMM, conjugate_gradient, voxel_weight


def matrix_operator(matrix):
    pair = (lambda x: matrix @ x, lambda y: matrix.T @ y)
    return ForeignOperator(pair, domain_shape=[matrix.shape[1]], range_shape=[matrix.shape[0]])


def test_voxel_weight_is_the_mean_squared_column():
    diagonal = torch.diag(torch.tensor([1.0, -2.0, 3.0]))
    assert voxel_weight(matrix_operator(diagonal), torch.ones(3)) == pytest.approx(14 / 3)
    matrix = torch.rand(30, 2000, generator=torch.Generator().manual_seed(0)) - 0.5
    assert voxel_weight(matrix_operator(matrix), matrix) == pytest.approx(float(matrix.square().sum()) / 2000, rel=0.5)


def test_voxel_weight_follows_the_units(projector):
    A = projector
    like = torch.ones(1)
    assert voxel_weight(0.1 * A, like) == pytest.approx(0.01 * voxel_weight(A, like), rel=1e-5)
    with pytest.raises(InputError, match=r"operator: found .*, which maps everything to zero"):
        voxel_weight(0.0 * A, like)


def test_a_new_penalty_keeps_the_multiplier():
    b = torch.tensor([1.0, 3.0, 2.0])
    admm = ADMM(Differences((3,)), soft_threshold, rho=0.5)
    x = admm.solve(lambda p: p, b, b, partial(conjugate_gradient, iterations=3))
    assert all(residual > 0 for residual in admm.split(x))
    multiplier = admm.rho * admm.u
    admm.rescale(4)
    assert admm.rho == 2
    torch.testing.assert_close(admm.rho * admm.u, multiplier)


@pytest.mark.parametrize("relaxation", [1.0, 1.7])
def test_converges_to_a_fixed_point(relaxation):
    # the penalty of the difference is larger than its gain: both become the mean
    b = torch.tensor([1.0, 2.0])
    admm = ADMM(Differences((2,)), soft_threshold, rho=1.0, relaxation=relaxation)
    x = b
    for _ in range(40):
        x = admm.solve(lambda p: p, b, x, partial(conjugate_gradient, iterations=3))
        residuals = admm.split(x)
    torch.testing.assert_close(x, torch.full((2,), 1.5), atol=1e-5, rtol=0)
    assert residuals[1] < 1e-4


@pytest.mark.parametrize("relaxation", [0.0, 2.0])
def test_impossible_relaxation_is_refused(relaxation):
    with pytest.raises(InputError, match=f"relaxation: found {relaxation}"):
        ADMM(Differences((3,)), soft_threshold, rho=1.0, relaxation=relaxation)
