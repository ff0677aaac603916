# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from monai_iscs.errors import InputError
from monai_iscs.metrics import VIEWS, ViewPSNR, ViewSSIM, per_view, psnr_per_slice, ssim_per_slice


def slices(volume: torch.Tensor, axis: int) -> list[np.ndarray]:
    return list(np.moveaxis(volume.double().numpy(), axis, 0))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_psnr_agrees_with_scikit_image(reconstruction, reference, axis):
    data_range = float(reference.max() - reference.min())
    found = psnr_per_slice(reconstruction, reference, axis)
    expected = [
        peak_signal_noise_ratio(y, x, data_range=data_range) if np.ptp(y) > 1e-6 else np.nan
        for x, y in zip(slices(reconstruction, axis), slices(reference, axis), strict=True)
    ]
    assert np.isnan(expected).sum() == 2
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_ssim_agrees_with_scikit_image(reconstruction, reference, axis):
    data_range = float(reference.max() - reference.min())
    options = {"gaussian_weights": True, "use_sample_covariance": False, "sigma": 1.5, "win_size": 11}
    found = ssim_per_slice(reconstruction, reference, axis)
    expected = [
        structural_similarity(y, x, data_range=data_range, **options) if np.ptp(y) > 1e-6 else np.nan
        for x, y in zip(slices(reconstruction, axis), slices(reference, axis), strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("view", VIEWS)
def test_metric_is_the_mean_over_the_slices_that_count(reconstruction, reference, view):
    for metric, per_slice in ((ViewPSNR(view), psnr_per_slice), (ViewSSIM(view), ssim_per_slice)):
        metric(reconstruction[None, None], reference[None, None])
        expected = per_slice(reconstruction, reference, VIEWS[view])[2:].mean()
        assert float(metric.aggregate()) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("metric", [ViewPSNR("coronal"), ViewSSIM("coronal")])
def test_batch_size_changes_nothing(reconstruction, reference, metric):
    x = torch.stack([reconstruction, 2 * reference, reference**2])[:, None]
    y = torch.stack([reference, 3 * reconstruction, reference])[:, None]  # each item has its own range
    metric.reset()
    metric(x, y)
    together = metric.aggregate()
    metric.reset()
    for i in range(3):
        metric(x[i : i + 1], y[i : i + 1])
    assert torch.equal(metric.aggregate(), together)


def test_chunks_change_nothing(reconstruction, reference, monkeypatch):
    whole = ssim_per_slice(reconstruction, reference, 0)
    monkeypatch.setattr(per_view, "CHUNK", 1)
    torch.testing.assert_close(ssim_per_slice(reconstruction, reference, 0), whole, equal_nan=True)


def test_data_range_is_the_volumes(reconstruction, reference):
    """The volume's, not each slice's; it can also be given."""
    own = psnr_per_slice(reconstruction, reference, 2)
    given = psnr_per_slice(reconstruction, reference, 2, data_range=10 * float(reference.max()))
    torch.testing.assert_close(given[2:], own[2:] + 20)
    metric = ViewPSNR("axial", data_range=10 * float(reference.max()))
    assert float(metric(reconstruction[None, None], reference[None, None])) == pytest.approx(float(given[2:].mean()))


def test_known_value():
    reference = torch.zeros(12, 12, 12)
    reference[::2] = 2.0
    assert psnr_per_slice(reference + 0.2, reference, 2).tolist() == pytest.approx([20.0] * 12, abs=1e-4)
    assert psnr_per_slice(reference, reference, 2).tolist() == [math.inf] * 12
    assert ssim_per_slice(reference, reference, 2).tolist() == pytest.approx([1.0] * 12)


def test_unknown_view():
    with pytest.raises(InputError, match="view: found 'transverse', expected one of axial, coronal, sagittal"):
        ViewPSNR("transverse")


def test_slices_thinner_than_the_window(reference):
    with pytest.raises(InputError, match=r"slices of \(24, 10\) pixels along axis 0, expected at least 11 x 11"):
        ssim_per_slice(reference[..., :10], reference[..., :10], 0)


def test_a_volume_that_is_too_thin_does_not_lose_the_others(reconstruction, reference):
    metric = ViewSSIM("sagittal")
    with pytest.warns(UserWarning, match=r"ViewSSIM: reference: found slices of \(24, 10\) .* left out"):
        thin = metric(reconstruction[None, None, ..., :10], reference[None, None, ..., :10])
    assert math.isnan(float(thin))
    expected = float(ssim_per_slice(reconstruction, reference, 0).nanmean())
    metric(reconstruction[None, None], reference[None, None])
    assert float(metric.aggregate()) == pytest.approx(expected)


def test_different_shapes(reference):
    with pytest.raises(InputError, match=r"found shape \(20, 24, 15\), expected the reference's \(20, 24, 16\)"):
        psnr_per_slice(reference[..., 1:], reference, 2)
    with pytest.raises(InputError, match="y_pred: found shape"):
        ViewSSIM("axial")(reference[None, None, ..., 1:], reference[None, None])
    with pytest.raises(InputError, match=r"expected both \(B, C, X, Y, Z\)"):
        ViewSSIM("axial")(reference[None], reference[None])
