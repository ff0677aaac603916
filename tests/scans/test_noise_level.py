# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from monai_iscs.operators import MeasuredImages
from monai_iscs.scans import estimate_noise_level
from monai_iscs.scans.noise_level import noise_variances


def measured(axes=(-2, -1), even_noise=False):
    """An operator with such images."""
    return SimpleNamespace(images=MeasuredImages(axes, even_noise))


@pytest.fixture(scope="module")
def projections():
    """Line integrals of a round body with a soft edge, 4 views of 96 x 96."""
    v, u = torch.meshgrid(torch.linspace(-1, 1, 96), torch.linspace(-1, 1, 96), indexing="ij")
    view = 6 * (0.7 - u.square() - v.square()).clamp(min=0) ** 1.5
    return view.expand(1, 4, 96, 96)


def test_white_noise(projections):
    generator = torch.Generator().manual_seed(0)
    for level in (0.005, 0.02, 0.1):
        noisy = projections + level * torch.randn(projections.shape, generator=generator)
        assert estimate_noise_level(noisy, measured()) == pytest.approx(level, rel=0.1)


def test_photon_noise(projections):
    """Several times stronger behind the middle of the body than beside it."""
    counts = torch.poisson(1e4 * torch.exp(-projections), generator=torch.Generator().manual_seed(0))
    noisy = -torch.log(counts.clamp(min=1) / 1e4)
    truth = float((noisy - projections).square().mean().sqrt())
    assert estimate_noise_level(noisy, measured()) == pytest.approx(truth, rel=0.1)


def test_a_noiseless_measurement_has_none(projections):
    assert estimate_noise_level(projections, measured()) < 1e-3
    assert estimate_noise_level(torch.zeros(1, 2, 8, 8), measured()) == 0


def test_what_the_image_holds_is_no_noise():
    """A fine pattern, as strong from pixel to pixel as the noise."""
    v, u = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    pattern = 0.2 * torch.sin(0.5 * u) * torch.sin(0.5 * v)
    assert estimate_noise_level(pattern.expand(1, 4, 96, 96), measured()) == 0
    noisy = pattern + 0.02 * torch.randn(1, 4, 96, 96, generator=torch.Generator().manual_seed(0))
    assert 0.01 < estimate_noise_level(noisy, measured()) < 0.022


def test_images_along_other_axes_and_noise_of_one_level(projections):
    noisy = projections + 0.02 * torch.randn(projections.shape, generator=torch.Generator().manual_seed(0))
    turned = noisy.permute(0, 2, 3, 1)
    assert estimate_noise_level(turned, measured((-3, -2))) == estimate_noise_level(noisy, measured())
    assert estimate_noise_level(turned, measured((-3, -2), even_noise=True)) == pytest.approx(0.02, rel=0.05)


def test_a_masked_background_hides_no_noise(projections):
    noisy = projections + 0.02 * torch.randn(projections.shape, generator=torch.Generator().manual_seed(0))
    masked = torch.where(projections > 1, noisy, 0)
    truth = 0.02 * float((projections > 1).float().mean().sqrt())
    assert truth < 0.015
    assert estimate_noise_level(masked, measured(even_noise=True)) == pytest.approx(truth, rel=0.15)


def test_where_there_are_no_images_nothing_is_told():
    noise = torch.randn(1, 4, 20, 20, generator=torch.Generator().manual_seed(0))
    assert estimate_noise_level(noise, measured()) > 0.9
    assert estimate_noise_level(noise, SimpleNamespace(images=None)) == 0
    assert estimate_noise_level(noise[:, :, :4, :4], measured()) == 0


def test_a_fan_beam_has_noise_along_its_row_only(projections):
    """One row, or too few for second differences along them: those along the columns tell."""
    generator = torch.Generator().manual_seed(0)
    for rows in (1, 4):
        clean = projections[:, :, 48 : 48 + rows].repeat(1, 30, 1, 1)
        noisy = clean + 0.02 * torch.randn(clean.shape, generator=generator)
        assert estimate_noise_level(noisy, measured()) == pytest.approx(0.02, rel=0.1)
        assert estimate_noise_level(clean, measured()) < 1e-4


def test_the_variance_of_photon_noise_follows_the_signal(projections):
    """exp(y) / N0 (Poisson's law, to first order): 17 times as large behind the middle as beside the body."""
    many = projections.repeat(1, 6, 1, 1)
    counts = torch.poisson(1e4 * torch.exp(-many), generator=torch.Generator().manual_seed(0))
    noisy = -torch.log(counts.clamp(min=1) / 1e4)
    found = noise_variances(noisy, measured())
    expected = torch.exp(many) / 1e4
    assert found.shape == noisy.shape
    inner = (..., slice(4, -4), slice(4, -4))
    ratio = (found / expected)[inner]
    assert 0.9 < float(ratio.median()) < 1.1
    assert float(ratio.quantile(0.05)) > 0.7
    assert float(ratio.quantile(0.95)) < 1.4
    # the estimate for a value has nothing of that value's own noise
    noise = (noisy - many)[inner] / expected[inner].sqrt()
    assert abs(float((noise * (ratio - ratio.mean())).mean())) < 0.02


def test_variances_along_other_axes(projections):
    noisy = projections + 0.02 * torch.randn(projections.shape, generator=torch.Generator().manual_seed(0))
    turned = noise_variances(noisy.permute(0, 2, 3, 1), measured((-3, -2)))
    torch.testing.assert_close(turned, noise_variances(noisy, measured()).permute(0, 2, 3, 1))


def test_where_no_variance_is_known(projections):
    assert noise_variances(projections, measured(even_noise=True)) is None
    assert noise_variances(projections, SimpleNamespace(images=None)) is None
    assert noise_variances(torch.zeros(1, 2, 3, 3), measured()) is None
