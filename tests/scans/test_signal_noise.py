# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.operators import SliceAveraging
from monai_iscs.scans import GaussianNoise, RicianNoise
from monai_iscs.transforms import SimulateMeasurement

SHAPE = (1, 40, 40, 20)


@pytest.fixture
def clean() -> torch.Tensor:
    """Half air, half tissue of signal 200: the robust maximum."""
    image = torch.zeros(SHAPE)
    image[:, 20:] = 200
    return image


def test_gaussian_noise_is_relative_to_the_signal(clean):
    noisy = GaussianNoise(0.05)(clean, torch.Generator().manual_seed(0))
    assert float((noisy - clean).std()) == pytest.approx(10, rel=0.02)
    assert float((noisy - clean).mean()) == pytest.approx(0, abs=0.2)


def test_rician_noise_is_a_magnitude_s(clean):
    noisy = RicianNoise(0.05)(clean, torch.Generator().manual_seed(0))
    assert float(noisy.min()) >= 0
    assert float(noisy[:, :20].mean()) == pytest.approx(10 * math.sqrt(math.pi / 2), rel=0.02)
    assert float(noisy[:, 20:].std()) == pytest.approx(10, rel=0.03)
    assert float(noisy[:, 20:].mean()) == pytest.approx(200 + 10**2 / (2 * 200), abs=0.3)


@pytest.mark.parametrize("noise", [GaussianNoise(0.1), RicianNoise(0.1)], ids=repr)
def test_in_a_simulated_measurement_the_seed_decides(clean, noise):
    operator = SliceAveraging(SHAPE[1:], factor=5)
    first, again, other = (SimulateMeasurement(operator, noise=noise, seed=seed)(clean) for seed in (3, 3, 4))
    assert first.shape == (1, 40, 40, 4)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(SimulateMeasurement(operator, noise=type(noise)(0.0))(clean), operator(clean))


def test_bad_noise():
    with pytest.raises(InputError, match=r"std: found -0\.1"):
        RicianNoise(-0.1)
