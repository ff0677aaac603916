# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch
from scipy.ndimage import gaussian_filter

from monai_iscs.errors import InputError
from monai_iscs.metrics import agreeing_frequencies, ring_correlation
from monai_iscs.transforms.lesions import Lesion, filled_share

SHAPE, SPACING = (112, 112, 4), (1.5, 1.5, 3.0)
NYQUIST = 1 / 3


def noise(seed):
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def anatomy():
    """Structures of all sizes, 100 HU."""
    coarse = torch.from_numpy(gaussian_filter(noise(0).numpy(), (4, 4, 1)))
    return 80 * coarse / coarse.std() + 60 * noise(1)


def test_equal_images_agree_everywhere(anatomy):
    found = ring_correlation(anatomy, anatomy, SPACING)
    assert found["suspect"] == 0
    assert found["median"] == pytest.approx(NYQUIST)
    assert found["below"] == [0] * len(found["below"])
    assert found["patches"] == 7 * 7 * 4  # patches of 28 pixels, 14 apart


def test_coarse_pixels_cannot_show_more_than_their_nyquist_frequency(anatomy):
    """Of 5 mm it is 0.1 /mm: equal images are not suspect there."""
    found = ring_correlation(anatomy, anatomy, (5.0, 5.0, 3.0))
    assert found["suspect"] == 0
    assert found["limit"] == pytest.approx(found["median"])
    assert found["limit"] == pytest.approx(0.1)


def test_contrast_and_offset_are_not_disagreement(anatomy):
    assert ring_correlation(0.3 * anatomy + 100, anatomy, SPACING)["median"] == pytest.approx(NYQUIST)


def test_unrelated_images_agree_nowhere(anatomy):
    found = ring_correlation(100 * noise(2), 100 * noise(3), SPACING)
    assert found["suspect"] == 1
    assert found["median"] < 0.02
    flat = ring_correlation(torch.zeros(SHAPE), anatomy, SPACING)
    assert flat["suspect"] == 1


def test_the_frequency_is_where_the_correlation_is_a_half():
    """White y and x = y + filtered white n: FRC(f) = 1 / sqrt(1 + |H(f)|²), a half where |H(f)|² = 3."""
    y, sigma = 50 * noise(4), 2.0
    low = torch.from_numpy(gaussian_filter(noise(5).numpy(), (sigma / 1.5, sigma / 1.5, 0), mode="wrap"))
    added = 50 * 4 * (noise(5) - low)  # H = 4 (1 - exp(-2 (pi sigma f)²))
    expected = math.sqrt(-math.log(1 - math.sqrt(3) / 4) / 2) / (math.pi * sigma)
    assert ring_correlation(y + added, y, SPACING)["median"] == pytest.approx(expected, rel=0.15)


def test_a_false_blob_is_found_where_it_is(anatomy):
    # 6 mm: its energy reaches up to 1/6 per mm
    blob = 800 * filled_share(SHAPE, SPACING, Lesion((105.0, 63.0, 6.0), 6.0, 1.0))
    smooth = torch.from_numpy(gaussian_filter(anatomy.numpy(), (1.5, 1.5, 0)))
    found = agreeing_frequencies(smooth + blob, smooth, SPACING, flat=5)
    suspect = (found < 0.125).nonzero().tolist()
    assert suspect
    for p, q, z in suspect:
        assert z in (1, 2, 3)
        assert p * 14 <= 70 < p * 14 + 28
        assert q * 14 <= 42 < q * 14 + 28
    assert not (agreeing_frequencies(smooth, smooth, SPACING, flat=5) < 0.125).any()


def test_air_is_left_out(anatomy):
    half = anatomy.clone()
    half[56:] = -1000
    found = agreeing_frequencies(half + noise(6), half, SPACING)
    assert found[4:].isnan().all()
    assert found[:4].isfinite().all()


def test_what_cannot_be_measured_is_refused(anatomy):
    with pytest.raises(InputError, match=r"reconstruction: found shape .* expected the reference's"):
        ring_correlation(anatomy[1:], anatomy, SPACING)
    with pytest.raises(InputError, match="found only patches with a standard deviation below 25 HU, expected some"):
        ring_correlation(anatomy, 0 * anatomy, SPACING)
    with pytest.raises(InputError, match="side: found 42 mm, 4 x 4 pixels, expected at least 8"):
        ring_correlation(anatomy, anatomy, (10.0, 10.0, 3.0))
