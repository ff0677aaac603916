# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.scans import read_projections

AIR = 20_000


@pytest.fixture
def read(tmp_path, circle):
    """``read(array, **options)``: an array as `scan.npy`, with the geometry of `circle`."""

    def run(array: np.ndarray, **options):
        np.save(tmp_path / "scan.npy", array)
        return read_projections(tmp_path / "scan.npy", geometry=circle, **options)

    return run


@pytest.fixture
def flats() -> np.ndarray:
    """Five images without the object, of a beam that is brighter in the middle; with the dark field of 100."""
    row, column = np.meshgrid(np.arange(10), np.arange(14), indexing="ij")
    beam = AIR * (1 - 0.002 * (row - 4) ** 2 - 0.002 * (column - 6) ** 2)
    return np.stack([beam + 100 + 10 * step for step in range(-2, 3)])


def test_air_and_dark(read, counts, integrals):
    projections = read(counts, air=AIR + 100, dark=np.full((10, 14), 100.0))
    assert projections.data.dtype == torch.float32
    assert projections.position is None
    assert projections.weights is None
    noise = projections.data.numpy() - integrals
    assert np.abs(noise * np.sqrt(AIR * np.exp(-integrals))).max() < 5


def test_several_flat_and_dark_images_are_averaged(read, integrals, flats, tmp_path):
    beam = flats.mean(0) - 100
    array = beam * np.exp(-integrals) + 100
    dark = np.stack([np.full((10, 14), 90.0), np.full((10, 14), 110.0)])
    exact = read(array, flat=flats, dark=dark)
    np.testing.assert_allclose(exact.data, integrals, atol=1e-6)
    for number, flat in enumerate(flats):
        np.save(tmp_path / f"flat_{number}.npy", flat)
    np.save(tmp_path / "dark.npy", dark)
    names = [tmp_path / f"flat_{number}.npy" for number in range(5)]
    for flat in (tmp_path / "flat_*.npy", names, [str(name) for name in names]):
        np.testing.assert_array_equal(read(array, flat=flat, dark=tmp_path / "dark.npy").data, exact.data)


def test_views_that_were_not_exposed_are_left_out(read, counts, integrals, circle):
    """One number everywhere, or nearly no count; also with numbers that are line integrals already."""
    array = counts.copy()
    array[3], array[8] = 0, np.random.default_rng(0).integers(0, 3, array[8].shape)
    left = np.delete(np.arange(12), [3, 8])
    projections = read(array, air=AIR + 100, dark=np.full((10, 14), 100.0))
    right = read(counts, air=AIR + 100, dark=np.full((10, 14), 100.0))
    np.testing.assert_array_equal(projections.data, right.data[left])
    assert projections.geometry == circle.chosen(left)
    said = "found no image in 2 of 12 views (3, 8: one number everywhere, or hardly a count), left out"
    assert projections.notes == (said,)
    array = integrals.copy()
    array[11] = 0
    projections = read(array, kind="line-integrals")
    assert projections.geometry == circle.chosen(np.arange(11))
    np.testing.assert_array_equal(projections.data, integrals[:11])
    assert "1 of 12 views (11:" in projections.notes[0]
    every = read(array, kind="line-integrals", every=11)  # what is left out is told by its number in the file
    assert "1 of 2 views (11:" in every.notes[0]
    assert every.geometry.views == 1


@pytest.mark.parametrize("value", [0.0, 50.0])
def test_a_pixel_of_line_integrals_that_never_changes(read, integrals, value):
    """Filled in where its neighbours say something else; beside the body, where all say 0, nothing is mended."""
    exact = read(integrals, kind="line-integrals")
    assert exact.weights is None
    assert exact.notes == ()
    array = integrals.copy()
    array[:, 4, 7] = value
    projections = read(array, kind="line-integrals")
    assert projections.notes == ("found 1 dead pixels, filled in from their neighbours",)
    lost = projections.weights == 0
    assert lost[:, 4, 7].all()
    assert int(lost.sum()) == 12
    assert np.abs(projections.data[:, 4, 7].numpy() - integrals[:, 4, 7]).max() < 0.2
    assert torch.equal(projections.data[~lost], exact.data[~lost])


def test_kinds(read, integrals):
    np.testing.assert_array_equal(read(integrals, kind="line-integrals").data, integrals)
    np.testing.assert_allclose(read(np.exp(-integrals), kind="transmission").data, integrals, atol=1e-6)
    np.testing.assert_allclose(read(500 * np.exp(-integrals), air=500).data, integrals, atol=1e-6)
    np.testing.assert_allclose(read(500 * np.exp(-integrals), kind="counts", air=500).data, integrals, atol=1e-6)


def test_dead_pixels_rays_without_a_count_and_saturated_rays(read, integrals):
    """They are found, filled in from their neighbours, weighted by 0 and told."""
    array = np.random.default_rng(0).poisson(60_000 * np.exp(-integrals)).astype(np.uint16)
    flat = np.full((10, 14), 60_000)
    flat[3, 5] = 0
    array[:, 3, 5] = 7
    array[:, 7, 9] = 40  # stuck
    array[2, 4, 6] = 0
    bad = np.zeros(array.shape, bool)
    bad[:, 3, 5] = bad[:, 7, 9] = bad[2, 4, 6] = True
    projections = read(array, flat=flat)
    assert projections.notes == (
        "found 2 dead pixels, filled in from their neighbours",
        "found 1 rays without a count, filled in from their neighbours",
    )
    np.testing.assert_array_equal(projections.weights == 0, bad)
    off = np.abs(projections.data.numpy() - integrals)
    assert off[~bad].max() < 0.05
    assert off[bad].max() < 0.3


def test_saturated_rays(read, integrals):
    """Where air would count more than the detector can, the thinnest rays say too little."""
    array = np.minimum(np.round(70_000 * np.exp(-integrals)), 65_535).astype(np.uint16)
    steep = np.ones(array.shape, bool)
    steep[:, 1:, :] = False
    array[steep] = 30_000
    array[0, 5, 5:7] = 65_535
    with pytest.raises(InputError, match=r"scan\.npy: found \S+ saturated rays \(\d\d\.\d% of all rays\), expected at"):
        read(array, air=70_000)
    array[array == 65_535] = 65_000
    array[0, 5, 5:7] = 65_535
    projections = read(array, air=70_000)
    assert projections.notes == ("found 2 saturated rays, filled in from their neighbours",)
    assert projections.weights.sum() == array.size - 2
    assert projections.data[0, 5, 5] > 1


def test_air_at_full_scale_is_told_and_kept(read, integrals):
    array = np.round(4_095 * np.exp(-integrals)).astype(np.uint16)
    projections = read(array, air=4_095)
    assert projections.weights is None
    (note,) = projections.notes
    assert note.endswith("of the rays at the detector's largest number (4095): they count as air")


def test_a_block_of_dead_pixels_is_filled_smoothly(read):
    """A plane stays one, but for its curvature at the edge of a block."""
    column = np.arange(14) * np.ones((12, 10, 1))
    array = 1e6 * np.exp(-0.1 * column)
    flat = np.full((10, 14), 1e6)
    flat[4:6, 6:8] = 0
    projections = read(array, flat=flat)
    np.testing.assert_allclose(projections.data, 0.1 * column, atol=0.06)
    assert projections.notes == ("found 4 dead pixels, filled in from their neighbours",)


def test_only_the_chosen_views_are_read(read, counts, circle):
    projections = read(counts, air=AIR, dark=np.full((10, 14), 100.0), every=5)
    whole = read(counts, air=AIR, dark=np.full((10, 14), 100.0))
    np.testing.assert_array_equal(projections.data, whole.data[::5])
    np.testing.assert_array_equal(projections.geometry.source, circle.source[::5])


def test_position(read, integrals, circle):
    assert read(integrals, kind="line-integrals", position="FFS").position == "FFS"
    assert read(integrals, kind="line-integrals", position="RAS").position is None
    assert read(integrals, kind="line-integrals").geometry == circle
