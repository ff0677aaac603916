# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.metrics import filled_in, null_space_part
from monai_iscs.operators import LinearOperator, SliceAveraging


class Plain(LinearOperator):
    """An operator without a known pseudo-inverse."""

    def __init__(self, inner, *, matched=True):
        self.inner, self.matched = inner, matched
        self.domain_shape, self.range_shape = inner.domain_shape, inner.range_shape

    def forward(self, x):
        return self.inner.forward(x)

    def adjoint(self, y):
        return self.inner.adjoint(y)


THICK = SliceAveraging((12, 10, 16), factor=4, axis=2)


@pytest.fixture(scope="module")
def volume():
    return torch.rand(1, 12, 10, 16, generator=torch.Generator().manual_seed(0))


def test_the_null_space_part_is_not_seen_and_the_rest_is(volume):
    part = null_space_part(volume, THICK)
    assert float(THICK(part).abs().max()) < 1e-5
    assert float(part.norm()) > 0.5 * float((volume - volume.mean()).norm())
    torch.testing.assert_close(null_space_part(part, THICK), part, atol=1e-5, rtol=0)
    assert float(null_space_part(THICK.T(THICK(volume)), THICK).abs().max()) < 1e-4
    assert abs(float((part * (volume - part)).sum())) < 1e-2  # orthogonal


def test_conjugate_gradients_find_it_too(volume):
    exact, found = (null_space_part(volume, operator) for operator in (THICK, Plain(THICK)))
    torch.testing.assert_close(found, exact, atol=1e-4, rtol=0)


def test_few_views_leave_more_than_many(cone_beam, volume):
    """And what they leave, they do not see."""
    x = torch.nn.functional.avg_pool3d(torch.rand(1, 16, 16, 6, generator=torch.Generator().manual_seed(1)), 3, 1, 1)
    left = []
    for views in (4, 12, 40):
        A = cone_beam((16, 16, 6), 20.0, views=views)  # pixels as fine as voxels
        part = null_space_part(x, A, iterations=100)
        assert float(A(part).norm()) < 0.02 * float(A(x).norm())
        left.append(float(part.norm() / x.norm()))
    assert left[0] > 1.5 * left[1]
    assert left[2] < 0.01


def test_what_the_measurement_resolves_is_not_filled_in():
    """Steps between thick slices are measured; what alternates inside of them is not; and air has no contrast."""
    measured = torch.zeros(1, 12, 10, 16)
    measured[..., 8:] = 0.5
    hidden = torch.zeros(1, 12, 10, 16)
    hidden[:, :6, :, ::2], hidden[:, :6, :, 1::2] = 0.1, -0.1
    share = filled_in(measured, THICK, (1.0, 1.0, 1.0))
    assert share.shape == measured.shape
    assert float(share.max()) < 1e-3
    share = filled_in(hidden, THICK, (1.0, 1.0, 1.0))
    assert float(share[:, :3].min()) > 0.99
    assert float(filled_in(torch.full((1, 12, 10, 16), 0.3), THICK, (1.0, 1.0, 1.0)).max()) < 1e-3
    both = filled_in(measured + hidden, THICK, (1.0, 1.0, 1.0))
    assert 0 <= float(both.min()) <= float(both.max()) <= 1


def test_an_unmatched_projector_is_refused(volume):
    with pytest.raises(InputError, match="operator: found Plain, expected one with an exact adjoint"):
        null_space_part(volume, Plain(THICK, matched=False))
