# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from monai_iscs.classical import cubic
from monai_iscs.classical.cubic import cubic_spline
from monai_iscs.errors import InputError
from monai_iscs.operators import ForeignOperator, SliceAveraging
from monai_iscs.scans import Measurement


def polynomial(z):
    return 0.3 + 0.2 * z - 0.03 * z**2 + 0.001 * z**3


def test_a_cubic_is_kept_and_the_ends_are_nearest():
    # four slices of five and one of two: centres 2, 7, 12, 17 and 20.5
    positions = SliceAveraging((22,), factor=5, axis=0).positions
    assert positions.tolist() == pytest.approx([2, 7, 12, 17, 20.5])
    fine = cubic_spline(polynomial(positions), positions, 22)
    wanted = torch.arange(22, dtype=torch.float64).clamp(2, 20.5)
    torch.testing.assert_close(fine, polynomial(wanted))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_layout_and_type(axis):
    thick = torch.rand(4, 4, 4, generator=torch.Generator().manual_seed(0))
    fine = cubic_spline(thick, [0.5, 2.5, 4.5, 6.5], 8, axis=axis)
    assert fine.dtype == torch.float32
    assert fine.shape[axis] == 8
    line = cubic_spline(thick.movedim(axis, 0)[:, 1, 2], [0.5, 2.5, 4.5, 6.5], 8)
    torch.testing.assert_close(fine.movedim(axis, 0)[:, 1, 2], line)


@pytest.mark.parametrize(("count", "expected"), [(1, [3.0] * 4), (2, [3.0, 3.0, 4.0, 5.0])])
def test_few_slices(count, expected):
    torch.testing.assert_close(
        cubic_spline(torch.tensor([3.0, 5.0])[:count], [1.0, 3.0][:count], 4), torch.tensor(expected)
    )


def test_thin_slices_stay_as_they_are():
    x = torch.rand(2, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(cubic_spline(x, range(6), 6), x)


@pytest.mark.parametrize(
    ("positions", "length", "message"),
    [
        ([0.5, 2.5], 6, r"positions: found shape \(2,\), expected one number for each of 3 slices"),
        ([0.5, 4.5, 2.5], 6, r"positions: found \[0.5, 4.5, 2.5\], expected rising numbers"),
        ([0.5, 2.5, 4.5], 0, "length: found 0, expected at least 1"),
    ],
)
def test_bad_input(positions, length, message):
    with pytest.raises(InputError, match=message):
        cubic_spline(torch.rand(2, 3), positions, length)


@pytest.mark.parametrize("scale", [1.0, 2.0, -0.3])
def test_a_measurement_of_thick_slices(scale):
    A = SliceAveraging((3, 22, 2), factor=5, axis=1)
    y = torch.rand(2, *A.range_shape, generator=torch.Generator().manual_seed(0))
    expected = cubic_spline(y, A.positions, 22, axis=2)
    torch.testing.assert_close(cubic(Measurement(scale * y, scale * A)), expected)


def test_other_measurements_are_refused():
    A = ForeignOperator((lambda x: x, lambda y: y), domain_shape=(4, 3, 2), range_shape=(4, 3, 2))
    with pytest.raises(InputError, match="cubic: found a measurement of ForeignOperator, expected one of SliceAverag"):
        cubic(Measurement(torch.rand(1, 4, 3, 2), 2 * A))
