# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch
from monai.data import MetaTensor

from monai_iscs.errors import InputError
from monai_iscs.metrics import VIEWS, ViewPSNR, ViewSSIM, slice_difference, summarise


def test_layout_and_values(reconstruction, reference):
    summary = summarise(reconstruction, reference, slice_axis=1)
    assert set(summary) == {"axial", "coronal", "sagittal", "slice_difference", "data_range", "lpips_net"}
    assert summary["lpips_net"] is None
    assert summary["data_range"] == pytest.approx(float(reference.max()))
    for view in VIEWS:
        values = summary[view]
        assert set(values) == {"psnr", "ssim", "lpips"}
        assert values["lpips"] is None
        for name, metric in (("psnr", ViewPSNR(view)), ("ssim", ViewSSIM(view))):
            assert values[name] == pytest.approx(float(metric(reconstruction[None, None], reference[None, None])))
    found, true = slice_difference(reconstruction, 1), slice_difference(reference, 1)
    expected = {"reconstruction": found, "reference": true, "gap": found - true, "excess": found - true}
    assert summary["slice_difference"] == expected


def test_smoother_than_the_truth_has_a_negative_gap_and_no_excess(reconstruction, reference):
    difference = summarise(reference, reconstruction)["slice_difference"]
    assert difference["gap"] < 0
    assert difference["excess"] == 0


def test_leading_axes_and_meta_change_nothing(reconstruction, reference):
    plain = summarise(reconstruction, reference)
    assert summarise(MetaTensor(reconstruction[None]), reference[None, None]) == plain
    assert summarise(MetaTensor(reconstruction[None]), MetaTensor(reference[None])) == plain


def test_figures_that_do_not_exist_are_none(reconstruction, reference):
    thin = summarise(reconstruction[..., 3:9], reference[..., 3:9])
    assert thin["axial"]["ssim"] > 0
    assert thin["coronal"]["ssim"] is None
    assert thin["sagittal"]["ssim"] is None
    assert thin["coronal"]["psnr"] > 0
    steps = torch.arange(12.0).expand(12, 12, 12).clone()  # every axial slice is flat
    assert summarise(steps + 1, steps)["axial"] == {"psnr": None, "ssim": None, "lpips": None}


def test_lpips_where_it_is_asked_for(large_reconstruction, large_reference, alex):
    plain = summarise(large_reconstruction, large_reference)
    summary = summarise(large_reconstruction, large_reference, lpips=alex)
    assert summary["lpips_net"] == "alex"
    for view, axis in VIEWS.items():
        expected = float(alex(large_reconstruction, large_reference, axis).nanmean())
        assert summary[view] == {**plain[view], "lpips": expected}
    thin = summarise(large_reconstruction[..., :20], large_reference[..., :20], lpips=alex)
    assert thin["axial"]["lpips"] > 0
    assert thin["coronal"]["lpips"] is None


def test_equal_volumes(reference):
    summary = summarise(reference, reference)
    assert summary["axial"]["psnr"] == math.inf
    assert summary["axial"]["ssim"] == pytest.approx(1)
    assert summary["slice_difference"]["gap"] == 0


def test_different_grids(reconstruction, reference):
    with pytest.raises(InputError, match=r"found shape \(20, 24, 15\)"):
        summarise(reconstruction[..., :15], reference)
    affine = torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0]).double())
    moved = affine.clone()
    moved[0, 3] = 1.0
    with pytest.raises(InputError, match=r"found a grid up to 1 mm from the reference's"):
        summarise(MetaTensor(reconstruction, affine=moved), MetaTensor(reference, affine=affine))
    wider = affine.clone()
    wider[2, 2] = 3.1
    with pytest.raises(InputError, match=r"found a grid up to 1\.5 mm"):
        summarise(MetaTensor(reconstruction, affine=wider), MetaTensor(reference, affine=affine))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan(reconstruction, reference, bad):
    reconstruction[3, 3, 3] = bad
    with pytest.raises(InputError, match="reconstruction: found NaN or infinite"):
        summarise(reconstruction, reference)


def test_constant_reference(reference):
    with pytest.raises(InputError, match="data_range: found 0"):
        summarise(reference, torch.ones_like(reference))


def test_more_than_one_volume(reference):
    with pytest.raises(InputError, match=r"expected one volume \(X, Y, Z\)"):
        summarise(torch.stack([reference, reference]), torch.stack([reference, reference]))
