# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.inferers import StackedOperator, StackLayout
from monai_iscs.operators import ForeignOperator, SliceAveraging

VOLUME = (5, 7, 3)


@pytest.fixture
def volume():
    return torch.rand(2, *VOLUME, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def scanner():
    matrix = torch.rand(11, 105, generator=torch.Generator().manual_seed(1))
    pair = (lambda x: matrix @ x.flatten(), lambda y: (matrix.T @ y).view(VOLUME))
    return ForeignOperator(pair, domain_shape=VOLUME, range_shape=(11,))


@pytest.mark.parametrize("divisor", [1, 4])
@pytest.mark.parametrize(("axis", "padded"), [(0, (8, 4)), (1, (8, 4)), (2, (8, 8))])
def test_stack_and_back(volume, axis, padded, divisor):
    layout = StackLayout(VOLUME, axis, divisor)
    stack = layout.stack(volume)
    in_plane = padded if divisor == 4 else tuple(size for i, size in enumerate(VOLUME) if i != axis)
    assert layout.in_plane_shape == in_plane
    assert stack.shape == (VOLUME[axis], 2, *in_plane)
    assert torch.equal(layout.volume(stack), volume)
    assert float(stack.sum()) == pytest.approx(float(volume.sum()), rel=1e-5)


def test_slices_are_those_of_the_axis(volume):
    for axis in range(3):
        stack = StackLayout(VOLUME, axis).stack(volume)
        assert torch.equal(stack[1], volume.select(axis + 1, 1))


@pytest.mark.parametrize("axis", [-1, 3, "z"])
def test_other_axes_are_refused(axis):
    with pytest.raises(InputError, match="slice_axis"):
        StackLayout(VOLUME, axis)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_stacked_operator_is_the_scanner_on_the_volume_with_its_adjoint(volume, scanner, axis):
    layout = StackLayout(VOLUME, axis, 4)
    operator = StackedOperator(scanner, layout, channels=2)
    torch.testing.assert_close(operator(layout.stack(volume)), scanner(volume))
    generator = torch.Generator().manual_seed(2)
    x, y = torch.randn(operator.domain_shape, generator=generator), torch.randn(2, 11, generator=generator)
    torch.testing.assert_close((operator(x) * y).sum(), (x * operator.T(y)).sum(), rtol=1e-4, atol=1e-4)
    assert operator.matched


def test_stacked_operator_of_an_unmatched_scanner_is_unmatched(scanner):
    scanner.matched = False
    assert not StackedOperator(scanner, StackLayout(VOLUME)).matched


def test_the_scanner_s_resolution_follows_the_axes():
    pair = (lambda x: x, lambda y: y)
    scanner = ForeignOperator(pair, domain_shape=VOLUME, range_shape=VOLUME, resolution=(1.0, 2.0, 3.0))
    assert StackedOperator(scanner, StackLayout(VOLUME, 2)).resolution == (3.0, 1.0, 1.0, 2.0)
    assert StackedOperator(scanner, StackLayout(VOLUME, 0)).resolution == (1.0, 1.0, 2.0, 3.0)
    assert StackedOperator(2.0 * scanner, StackLayout(VOLUME, 1)).resolution == (2.0, 1.0, 1.0, 3.0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_scanner_s_pseudo_inverse_is_the_stack_s(volume, scanner, axis):
    layout = StackLayout(VOLUME, axis, 4)
    operator = StackedOperator(SliceAveraging(VOLUME, factor=3, axis=1), layout, channels=2)
    y = operator(layout.stack(volume))
    torch.testing.assert_close(operator(operator.pseudo_inverse(y)), y)
    torch.testing.assert_close(layout.stack(layout.volume(operator.pseudo_inverse(y))), operator.pseudo_inverse(y))
    assert StackedOperator(scanner, layout, channels=2).pseudo_inverse is None
