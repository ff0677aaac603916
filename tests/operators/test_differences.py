# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.operators import Differences, operator_norm, shrink_length, soft_threshold


@pytest.mark.parametrize("axes", [None, (0,), (2, 1)])
@pytest.mark.parametrize("shape", [(5, 4, 3), (1, 4, 1)])
def test_adjoint_is_exact(shape, axes):
    D = Differences(shape, axes=axes)
    matrix = D(torch.eye(torch.Size(shape).numel(), dtype=torch.float64).reshape(-1, *shape)).flatten(1)
    count = matrix.shape[1]
    transposed = D.T(torch.eye(count, dtype=torch.float64).reshape(count, *D.range_shape)).flatten(1)
    assert torch.equal(matrix, transposed.T)


def test_ends_are_no_neighbours():
    x = torch.tensor([[1.0, 5.0], [2.0, 4.0], [7.0, 0.0]])
    expected = torch.tensor([[[1.0, -1.0], [5.0, -4.0], [0.0, 0.0]], [[4.0, 0.0], [2.0, 0.0], [-7.0, 0.0]]])
    assert torch.equal(Differences(x.shape)(x), expected)
    assert torch.equal(Differences(x.shape, axes=(1,))(x.expand(2, 3, 2))[1], expected[1:])


def test_norm_is_below_its_bound():
    assert 0.8 * 12 < operator_norm(Differences((9, 9, 9)), iterations=60) ** 2 < 12


@pytest.mark.parametrize("axes", [(), (3,), (-1,), (1, 1)])
def test_impossible_axes_are_refused(axes):
    with pytest.raises(InputError, match=r"axes: found \(.*expected different axes of \(4, 4, 4\), 0 to 2"):
        Differences((4, 4, 4), axes=axes)


def test_shrinkage():
    x = torch.tensor([-3.0, -1.0, 0.0, 0.5, 2.0])
    assert torch.equal(soft_threshold(x, 1.0), torch.tensor([-2.0, 0.0, 0.0, 0.0, 1.0]))
    assert torch.equal(soft_threshold(x, 0.0), x)
    vectors = torch.tensor([[3.0, 0.0, 0.3], [4.0, 0.0, 0.4]])
    torch.testing.assert_close(shrink_length(vectors, 1.0), torch.tensor([[2.4, 0.0, 0.0], [3.2, 0.0, 0.0]]))
    assert torch.equal(shrink_length(vectors, 0.0), vectors)
    torch.testing.assert_close(shrink_length(vectors.T, 1.0, dim=1), shrink_length(vectors, 1.0).T)
