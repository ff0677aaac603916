# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from monai_iscs.errors import InputError
from monai_iscs.metrics import noise_power

SHAPE, SPACING = (64, 60, 6), (1.5, 1.5, 3.0)
TISSUE = torch.full(SHAPE, 40.0)


@pytest.fixture(scope="module")
def noise():
    """White, 20 HU."""
    return 20 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_white_noise_is_flat(noise):
    found = noise_power(noise, TISSUE, SPACING)
    assert found["frequency"][-1] == pytest.approx(1 / 3, abs=1 / 32)  # Nyquist
    power = np.array(found["power"][1:])
    assert power.mean() == pytest.approx(20**2 * 1.5 * 1.5, rel=0.03)
    assert power.std() / power.mean() < 0.1
    assert found["noise"] == pytest.approx(20, rel=0.02)
    assert found["mean_frequency"] == pytest.approx(np.mean(found["frequency"][1:]), rel=0.03)


def test_its_total_is_the_variance_of_the_patches(noise):
    """Parseval, with an odd number of pixels and pixels that are no squares."""
    spacing = (1.5, 1.6, 3.0)
    n, m = round(32 / 1.5), round(32 / 1.6)
    patches = noise.unfold(0, n, n // 2).unfold(1, m, m // 2)
    found = noise_power(noise, TISSUE, spacing)
    assert (n % 2, m % 2) == (1, 0)
    assert found["patches"] == patches[..., 0, 0].numel()
    assert found["noise"] ** 2 == pytest.approx(float(patches.var((-2, -1), correction=0).mean()), rel=1e-12)


def test_smooth_noise_has_the_transfer_function_of_its_filter(noise):
    sigma = 2.0  # mm
    smooth = torch.from_numpy(gaussian_filter(noise.numpy(), (sigma / 1.5, sigma / 1.5, 0), mode="wrap"))
    white, found = noise_power(noise, TISSUE, SPACING), noise_power(smooth, TISSUE, SPACING)
    for f, before, after in zip(found["frequency"], white["power"], found["power"], strict=True):
        if 0.05 < f < 0.15:
            assert after / before == pytest.approx(math.exp(-((2 * math.pi * sigma * f) ** 2)), rel=0.25)
    assert found["mean_frequency"] < 0.5 * white["mean_frequency"]


def test_a_wave_has_its_frequency():
    x = torch.arange(64.0)[:, None, None] * 2.0
    wave = (10 * torch.cos(2 * math.pi * x / 8)).expand(64, 64, 2)  # a period of 8 mm
    found = noise_power(wave, torch.zeros(64, 64, 2), (2.0, 2.0, 3.0))
    assert found["mean_frequency"] == pytest.approx(1 / 8)
    assert found["noise"] == pytest.approx(10 / math.sqrt(2), rel=1e-6)


def test_only_soft_tissue_counts(noise):
    reference = TISSUE.clone()
    reference[40:] = 700  # bone
    spoiled = noise.clone()
    spoiled[40:] *= 50
    found = noise_power(spoiled, reference, SPACING)
    assert found["noise"] == pytest.approx(20, rel=0.05)
    assert found["patches"] < noise_power(noise, TISSUE, SPACING)["patches"]


def test_no_error_has_no_frequency():
    found = noise_power(torch.zeros(SHAPE), TISSUE, SPACING)
    assert (found["noise"], found["mean_frequency"]) == (0, None)


def test_what_cannot_be_measured_is_refused():
    zeros = torch.zeros(SHAPE)
    with pytest.raises(InputError, match=r"difference: found shape .* expected the reference's"):
        noise_power(zeros[1:], zeros, SPACING)
    with pytest.raises(InputError, match=r"found no patch of 32 mm with -150 to 250 HU only, expected at least one"):
        noise_power(zeros, zeros - 900, SPACING)
    with pytest.raises(InputError, match=r"side: found 8 mm, 5 x 5 pixels, expected at least 8 pixels"):
        noise_power(zeros, zeros, SPACING, side=8)
    with pytest.raises(InputError, match=r"side: found 96 mm, 64 x 64 pixels, expected at most the slice's 64 x 60"):
        noise_power(zeros, zeros, SPACING, side=96)
    with pytest.raises(InputError, match=r"difference: found shape \(64, 60\), expected \(X, Y, Z\)"):
        noise_power(zeros[..., 0], zeros[..., 0], SPACING)
    with pytest.raises(InputError, match="complex"):
        noise_power(zeros + 1j, zeros, SPACING)
