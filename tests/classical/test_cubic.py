# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from monai_iscs.classical import cubic
from monai_iscs.errors import InputError
from monai_iscs.operators import SliceAveraging


def polynomial(z):
    return 0.3 + 0.2 * z - 0.03 * z**2 + 0.001 * z**3


def test_a_cubic_is_kept_and_the_ends_are_nearest():
    # four slices of five and one of two: centres 2, 7, 12, 17 and 20.5
    positions = SliceAveraging((22,), factor=5, axis=0).positions
    assert positions.tolist() == pytest.approx([2, 7, 12, 17, 20.5])
    fine = cubic(polynomial(positions), positions, 22)
    wanted = torch.arange(22, dtype=torch.float64).clamp(2, 20.5)
    torch.testing.assert_close(fine, polynomial(wanted))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_layout_and_type(axis):
    thick = torch.rand(4, 4, 4, generator=torch.Generator().manual_seed(0))
    fine = cubic(thick, [0.5, 2.5, 4.5, 6.5], 8, axis=axis)
    assert fine.dtype == torch.float32
    assert fine.shape[axis] == 8
    line = cubic(thick.movedim(axis, 0)[:, 1, 2], [0.5, 2.5, 4.5, 6.5], 8)
    torch.testing.assert_close(fine.movedim(axis, 0)[:, 1, 2], line)


@pytest.mark.parametrize(("count", "expected"), [(1, [3.0] * 4), (2, [3.0, 3.0, 4.0, 5.0])])
def test_few_slices(count, expected):
    torch.testing.assert_close(cubic(torch.tensor([3.0, 5.0])[:count], [1.0, 3.0][:count], 4), torch.tensor(expected))


def test_thin_slices_stay_as_they_are():
    x = torch.rand(2, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(cubic(x, range(6), 6), x)


@pytest.mark.parametrize(
    ("positions", "length", "message"),
    [
        ([0.5, 2.5], 6, r"positions has shape \(2,\), expected one number for each of 3 slices"),
        ([0.5, 4.5, 2.5], 6, r"positions is \[0.5, 4.5, 2.5\], expected rising numbers"),
        ([0.5, 2.5, 4.5], 0, "length is 0, expected at least 1"),
    ],
)
def test_bad_input(positions, length, message):
    with pytest.raises(InputError, match=message):
        cubic(torch.rand(2, 3), positions, length)
