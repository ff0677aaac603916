# SPDX-License-Identifier: Apache-2.0
"""Values that are or are not HU: real volumes and noise-free phantoms, whole, padded and cropped."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch

from monai_iscs.transforms.hounsfield import not_hounsfield


@pytest.fixture(params=["chest", "trunk", "phantom"])
def hu(request, data_folder, phantom) -> np.ndarray:
    names = {"chest": "lidc-idri-0001_standard.nii.gz", "trunk": "totalseg_example_ct_sm.nii.gz"}
    if request.param in names:
        return np.asarray(nibabel.load(data_folder / names[request.param]).dataobj).astype(np.float32)
    return phantom.astype(np.float32).clip(-1000)


def outside(hu: np.ndarray) -> np.ndarray:
    """The voxels outside a round field of view."""
    x, y = np.meshgrid(*(np.linspace(-1, 1, n) for n in hu.shape[:2]), indexing="ij")
    return np.broadcast_to((x**2 + y**2 > 1)[..., None], hu.shape)


def wrong(values: np.ndarray) -> str | None:
    return not_hounsfield(torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)))


@pytest.mark.parametrize("padding", [None, -1024, -2000, -2048, -3024, -32768])
def test_hu_with_and_without_padding(hu, padding):
    assert wrong(hu if padding is None else np.where(outside(hu), padding, hu)) is None


@pytest.mark.parametrize("low", [-1024, -1000])
@pytest.mark.parametrize("sigma", [0, 20, 80])
def test_hu_with_noise_and_clipped(hu, low, sigma):
    assert wrong((hu + np.random.default_rng(0).normal(0, sigma, hu.shape)).clip(low, 3071)) is None


def test_metal(hu):
    hu.ravel()[::997] = 30000
    assert wrong(hu) is None


STORED = [(intercept, padding) for intercept in (1000, 1024) for padding in (None, 0, -1024, -2000, -3024)]


@pytest.mark.parametrize(("intercept", "padding"), STORED)
def test_stored_values_with_and_without_padding(hu, intercept, padding):
    stored = hu + intercept
    assert wrong(stored if padding is None else np.where(outside(hu), padding, stored)) is not None


@pytest.mark.parametrize("padding", [None, -1024, -2000, -3024])
@pytest.mark.parametrize("factor", [10, 0.75, 0.6, 0.5, 0.25, 0.1])
def test_hu_times_something(hu, factor, padding):
    scaled = hu * factor
    assert wrong(scaled if padding is None else np.where(outside(hu), padding, scaled)) is not None


@pytest.mark.parametrize(
    "change",
    [
        lambda hu: (hu + 1000) / 4000,
        lambda hu: (hu - hu.mean()) / hu.std(),
        lambda hu: hu / 2,
        lambda hu: hu * 1e30,
        lambda hu: np.where(np.arange(hu.size).reshape(hu.shape) == 7, 1e33, hu),
        lambda hu: hu.clip(-160, 240),
        lambda hu: ((hu.clip(-160, 240) + 160) / 400 * 255).round(),
        lambda hu: np.digitize(hu, [-500, -200, 0, 100]),
        lambda hu: -hu,
        lambda hu: hu.clip(-2000, -900),
    ],
    ids=[
        "0 to 1",
        "standardised",
        "half",
        "e30",
        "one of e33",
        "a window",
        "8 bit",
        "labels",
        "negative",
        "nothing but air",
    ],
)
def test_what_is_not_hu(hu, change):
    assert wrong(change(hu)) is not None


@pytest.mark.parametrize("level", [0.3, 1, 3])
def test_mr_magnitudes(level):
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (50, 50, 20)), indexing="ij")
    signal = np.where(x**2 + y**2 + z**2 < 0.7, 400 + 150 * np.sin(3 * x + 4 * z), 0)
    noise = np.random.default_rng(0).normal(0, 12, (2, *x.shape))
    assert wrong(level * np.hypot(signal + noise[0], noise[1])) is not None
    assert wrong(level * signal) is not None


def test_crops_inside_the_body_have_no_air(data_folder):
    """Only tissue, with and without bone; only lungs; the liver with contrast."""
    hu = np.asarray(nibabel.load(data_folder / "lidc-idri-0001_standard.nii.gz").dataobj).astype(np.float32)
    body = (hu > -250).mean(2) == 1
    found = 0
    for x in range(0, 232, 12):
        for y in range(0, 232, 12):
            if body[x : x + 24, y : y + 24].all():
                found += 1
                assert wrong(hu[x : x + 24, y : y + 24]) is None, (x, y)
    assert found >= 3
    noise = np.random.default_rng(0).normal(0, 12, (40, 40, 10))
    for level in (-100, 0, 60, 130, 300):
        assert wrong(noise + level) is None
    lung = np.where(np.random.default_rng(1).random(noise.shape) < 0.06, 20, -860 + 5 * noise)
    assert wrong(lung) is None
