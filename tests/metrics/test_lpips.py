# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import warnings

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.metrics import VIEWS, SliceLPIPS, ViewLPIPS, lpips
from monai_iscs.metrics.lpips_weights import load_lpips


@pytest.fixture(scope="module")
def model(needs_lpips) -> torch.nn.Module:
    return load_lpips("alex", download=False)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_agrees_with_the_lpips_package_slice_by_slice(large_reconstruction, large_reference, alex, model, axis):
    """In Hounsfield units: the range comes from the reference."""
    hu = [2600 * volume - 1000 for volume in (large_reconstruction, large_reference)]
    found = alex(*hu, axis)
    assert found.dtype == torch.float64
    assert found[:2].isnan().all()  # flat
    for i in range(2, len(found), 9):
        low, high = large_reference.min(), large_reference.max()
        pair = [
            ((volume.select(axis, i) - low) / (high - low)).expand(1, 3, -1, -1)
            for volume in (large_reconstruction, large_reference)
        ]
        assert float(found[i]) == pytest.approx(float(model(*pair, normalize=True)), abs=1e-5)


def test_equal_slices_are_at_zero_and_worse_ones_farther(large_reconstruction, large_reference, alex):
    assert (alex(large_reference, large_reference, 2)[2:] == 0).all()
    worse = large_reference + 3 * (large_reconstruction - large_reference)
    assert (alex(worse, large_reference, 2)[2:] > alex(large_reconstruction, large_reference, 2)[2:]).all()


def test_number_of_slices_at_a_time_changes_nothing(large_reconstruction, large_reference, alex, monkeypatch):
    whole = alex(large_reconstruction, large_reference, 0)
    monkeypatch.setattr(lpips, "CHUNK", 1)
    single = alex(large_reconstruction, large_reference, 0)
    torch.testing.assert_close(single, whole, rtol=1e-5, atol=1e-7, equal_nan=True)
    assert torch.equal(alex(large_reconstruction, large_reference, 0).nan_to_num(), single.nan_to_num())


def test_metric_is_the_mean_over_the_slices_that_count(large_reconstruction, large_reference, alex):
    for view, axis in VIEWS.items():
        metric = ViewLPIPS(view, distance=alex)
        metric(large_reconstruction[None, None], large_reference[None, None])
        expected = alex(large_reconstruction, large_reference, axis)[2:].mean()
        assert float(metric.aggregate()) == pytest.approx(float(expected), rel=1e-6)


def test_batch_size_changes_nothing(large_reconstruction, large_reference, alex):
    x = torch.stack([large_reconstruction, 2 * large_reference])[:, None]
    y = torch.stack([large_reference, 3 * large_reconstruction])[:, None]  # each item has its own range
    metric = ViewLPIPS("coronal", distance=alex)
    metric(x, y)
    together = metric.aggregate()
    metric.reset()
    for i in range(2):
        metric(x[i : i + 1], y[i : i + 1])
    assert torch.equal(metric.aggregate(), together)


def test_data_range_can_be_given(large_reconstruction, large_reference, alex):
    """Above the reference's own minimum."""
    data_range = 2 * float(large_reference.max() - large_reference.min())
    given = alex(large_reconstruction, large_reference, 2, data_range=data_range)
    assert (given[2:] < alex(large_reconstruction, large_reference, 2)[2:]).all()
    metric = ViewLPIPS("axial", distance=alex, data_range=data_range)
    value = metric(large_reconstruction[None, None], large_reference[None, None])
    assert float(value) == pytest.approx(float(given[2:].mean()), rel=1e-6)


def test_smallest_slices(large_reference, alex):
    assert alex.smallest_side == 31
    assert torch.isfinite(alex(large_reference[:31], large_reference[:31], 2)[2:]).all()
    with pytest.raises(InputError, match=r"slices of \(30, 33\) pixels along axis 2, expected at least 31 x 31"):
        alex(large_reference[:30], large_reference[:30], 2)


def test_different_shapes(large_reference, alex):
    with pytest.raises(InputError, match=r"found shape \(36, 33, 31\), expected the reference's"):
        alex(large_reference[..., 1:], large_reference, 2)


def test_unknown_net():
    with pytest.raises(InputError, match="net: found 'squeeze', expected one of alex, vgg"):
        SliceLPIPS("squeeze")


def test_the_callers_random_numbers_are_left_alone(needs_lpips):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric = ViewLPIPS("axial")
    assert torch.equal(torch.rand(3), expected)
    assert metric.distance.net == "alex"
