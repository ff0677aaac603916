# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.sampling import estimate_noise_level


@pytest.fixture(scope="module")
def projections():
    """Line integrals of a round body that thins out towards its edge, 4 views of 96 x 96."""
    v, u = torch.meshgrid(torch.linspace(-1, 1, 96), torch.linspace(-1, 1, 96), indexing="ij")
    view = 6 * (0.7 - u.square() - v.square()).clamp(min=0) ** 1.5
    return view.expand(1, 4, 96, 96)


def test_white_noise(projections):
    generator = torch.Generator().manual_seed(0)
    for level in (0.005, 0.02, 0.1):
        noisy = projections + level * torch.randn(projections.shape, generator=generator)
        assert estimate_noise_level(noisy) == pytest.approx(level, rel=0.1)


def test_photon_noise(projections):
    """Several times as strong behind the middle of the body as beside it."""
    counts = torch.poisson(1e4 * torch.exp(-projections), generator=torch.Generator().manual_seed(0))
    noisy = -torch.log(counts.clamp(min=1) / 1e4)
    truth = float((noisy - projections).square().mean().sqrt())
    assert estimate_noise_level(noisy) == pytest.approx(truth, rel=0.1)


def test_a_noiseless_measurement_has_none(projections):
    assert estimate_noise_level(projections) < 1e-3
    assert estimate_noise_level(torch.zeros(1, 2, 8, 8)) == 0


def test_what_the_image_holds_is_no_noise():
    """A fine pattern, as strong from pixel to pixel as the noise."""
    v, u = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    pattern = 0.2 * torch.sin(0.5 * u) * torch.sin(0.5 * v)
    assert estimate_noise_level(pattern.expand(1, 4, 96, 96)) == 0
    noisy = pattern + 0.02 * torch.randn(1, 4, 96, 96, generator=torch.Generator().manual_seed(0))
    assert 0.01 < estimate_noise_level(noisy) < 0.022


def test_images_along_other_axes_and_noise_of_one_level(projections):
    noisy = projections + 0.02 * torch.randn(projections.shape, generator=torch.Generator().manual_seed(0))
    turned = noisy.permute(0, 2, 3, 1)
    assert estimate_noise_level(turned, axes=(1, 2)) == estimate_noise_level(noisy)
    assert estimate_noise_level(turned, axes=(1, 2), groups=1) == pytest.approx(0.02, rel=0.05)


def test_an_image_too_small_to_tell():
    with pytest.raises(InputError, match=r"shape \(1, 2, 40\), expected images of at least 5 x 5"):
        estimate_noise_level(torch.zeros(1, 2, 40))
