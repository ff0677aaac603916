# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch
from scipy.ndimage import gaussian_filter

from monai_iscs.errors import InputError
from monai_iscs.metrics import modulation_transfer
from monai_iscs.transforms.lesions import Lesion, filled_share

SPACING = (1.2, 1.2, 2.0)
SHAPE = (80, 50, 20)
SPHERES = [Lesion(centre, 16.0, 500.0) for centre in ((20.4, 21.6, 20.0), (48.0, 37.2, 18.0), (74.4, 25.2, 20.0))]


@pytest.fixture(scope="module")
def background():
    """Tissue of waves of 30 HU."""
    x = torch.linspace(0, 20, SHAPE[0])
    return (40 + 30 * torch.sin(x))[:, None, None].expand(SHAPE)


@pytest.fixture(scope="module")
def reference(background):
    return background + sum(sphere.contrast * filled_share(SHAPE, SPACING, sphere) for sphere in SPHERES)


def blurred(volume, sigma):
    """By a Gaussian of a standard deviation in mm."""
    return torch.from_numpy(gaussian_filter(volume.numpy(), [sigma / step for step in SPACING], truncate=6))


def half(sigma):
    """Where the transfer function of a Gaussian, exp(-2 (pi sigma f)²), is a half."""
    return math.sqrt(math.log(2) / 2) / (math.pi * sigma)


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0])
def test_a_gaussian_has_its_transfer_function(reference, background, sigma):
    found = modulation_transfer(background + blurred(reference - background, sigma), reference, SPHERES, SPACING)
    assert found["mtf50"] == pytest.approx(half(sigma), rel=0.06)
    assert found["kept"] == pytest.approx(1, abs=0.03)
    for f, value in zip(found["frequency"], found["mtf"], strict=True):
        if f < half(sigma):
            assert value == pytest.approx(math.exp(-2 * (math.pi * sigma * f) ** 2), abs=0.08)


def test_noise_changes_it_little(reference, background):
    noise = 60 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    found = modulation_transfer(background + blurred(reference - background, 1.5) + noise, reference, SPHERES, SPACING)
    assert found["mtf50"] == pytest.approx(half(1.5), rel=0.12)
    assert found["kept"] == pytest.approx(1, abs=0.1)


def test_a_perfect_and_a_weak_edge(reference, background):
    found = modulation_transfer(reference, reference, SPHERES, SPACING)
    assert found["mtf"] == pytest.approx([1.0] * len(found["mtf"]), abs=1e-4)
    assert found["mtf50"] == found["frequency"][-1] == pytest.approx(1 / 2.4)  # Nyquist: it never falls to a half
    weak = modulation_transfer((reference + background) / 2, reference, SPHERES, SPACING)
    assert weak["kept"] == pytest.approx(0.5, abs=1e-3)
    assert weak["mtf"] == pytest.approx(found["mtf"], abs=1e-3)


def test_an_edge_that_is_not_there_has_no_resolution(reference, background):
    found = modulation_transfer(background, reference, SPHERES, SPACING)
    assert found["kept"] == pytest.approx(0, abs=1e-5)
    assert found["mtf50"] is None


def test_sharper_edges_lie_above_one(reference, background):
    spheres = reference - background
    sharpened = reference + 0.7 * (spheres - blurred(spheres, 1.5))
    assert max(modulation_transfer(sharpened, reference, SPHERES, SPACING)["mtf"]) > 1.2


def test_what_cannot_be_measured_is_refused(reference):
    with pytest.raises(InputError, match="expected the reference's"):
        modulation_transfer(reference[1:], reference, SPHERES, SPACING)
    with pytest.raises(InputError, match="spheres: found none, expected some of at least 12 mm"):
        modulation_transfer(reference, reference, [], SPACING)
    with pytest.raises(InputError, match="spheres: found 8 mm, expected"):
        modulation_transfer(reference, reference, [Lesion((20.0, 20.0, 20.0), 8.0, 500.0)], SPACING)
    with pytest.raises(InputError, match=r"spheres: found one of 16 mm at .* that reaches out of the volume"):
        modulation_transfer(reference, reference, [Lesion((20.0, 2.0, 20.0), 16.0, 500.0)], SPACING)
