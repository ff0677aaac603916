# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.metrics import SliceDifference, SliceDifferenceGap, slice_difference


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_equation_18(reference, axis):
    assert slice_difference(reference, axis) == pytest.approx(float(reference.diff(dim=axis).abs().mean()), rel=1e-6)


def test_a_ramp_and_a_flicker():
    ramp = torch.arange(5.0).expand(3, 4, 5)
    assert slice_difference(ramp) == 1
    assert slice_difference(ramp, 0) == 0
    assert slice_difference(torch.tensor([0.0, 1, 0, 1, 0]).expand(3, 4, 5)) == 1


def test_metrics_accumulate(reconstruction, reference):
    x = torch.stack([reconstruction, reference])[:, None]
    y = torch.stack([reference, reconstruction])[:, None]
    difference, gap = SliceDifference(1), SliceDifferenceGap(1, reduction="none")
    for i in range(2):
        difference(x[i : i + 1])
        gap(x[i : i + 1], y[i : i + 1])
    rough, smooth = slice_difference(reconstruction, 1), slice_difference(reference, 1)
    assert float(difference.aggregate()) == pytest.approx((rough + smooth) / 2)
    # signed: positive if rougher than the truth
    assert gap.aggregate().flatten().tolist() == pytest.approx([rough - smooth, smooth - rough], rel=1e-5)
    assert rough > smooth


@pytest.mark.parametrize("shape", [(4, 4, 1), (4, 4), (1, 4, 4, 4)])
def test_what_has_no_neighbouring_slices(shape):
    with pytest.raises(InputError, match="volume: found shape"):
        slice_difference(torch.zeros(shape))


def test_batches_only(reference):
    with pytest.raises(InputError, match=r"expected \(B, C, X, Y, Z\)"):
        SliceDifference()(reference)
