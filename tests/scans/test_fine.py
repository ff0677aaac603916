# SPDX-License-Identifier: Apache-2.0
"""Simulated scans that do not know the reconstruction's grid."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from monai_iscs.classical import fdk, sirt
from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.scans import ConeBeamScan

FINE = Grid.centered((64, 64, 10), (5.0, 5.0, 6.0), center=(30, -20, 10))


def cylinder(grid: Grid = FINE, radius: float = 100.0) -> torch.Tensor:
    """A cylinder of 0.4 that goes on along z, with a rod of 0.8 off its axis."""
    x, y = (np.arange(n) - (n - 1) / 2 for n in grid.shape[:2])
    x, y = x[:, None] * grid.spacing[0], y * grid.spacing[1]
    body = 0.4 * (np.hypot(x, y) < radius) + 0.4 * (np.hypot(x - 40, y + 20) < 20)
    return torch.from_numpy(body).float()[None, ..., None].expand(1, *grid.shape).contiguous()


def test_the_reconstruction_has_a_grid_of_its_own_at_the_same_place():
    measurement = ConeBeamScan(size=32, views=40).simulate(cylinder(), FINE)
    grid = measurement.grid
    assert grid.shape[:2] == (32, 32)
    assert grid.shape[2] > 10
    assert grid.spacing == pytest.approx((10, 10, 6))
    assert grid.center == pytest.approx(FINE.center)
    volume = fdk(measurement)[0]
    assert float(volume[14:18, 14:18].mean()) == pytest.approx(0.4, rel=0.05)
    assert float(volume[19:21, 13:15].mean()) == pytest.approx(0.8, rel=0.15)  # the rod, where it is


def test_the_body_goes_on_beyond_its_ends():
    """Every slice is alike, and so is every row of a detector that sees nothing but slices."""
    data = ConeBeamScan(size=32, views=4).simulate(cylinder(), FINE).data
    rows = data[0, 0]
    climb = (np.arange(rows.shape[0]) - (rows.shape[0] - 1) / 2) * 16.0 / 1200
    torch.testing.assert_close(
        rows[:, 32], rows[rows.shape[0] // 2, 32] * torch.from_numpy(np.sqrt(1 + climb**2)).float(), rtol=2e-3, atol=0
    )


def test_a_pixel_measures_the_mean_intensity_of_four_rays():
    """At the edge of the body: more photons pass than the mean line integral says (Jensen)."""
    fine = ConeBeamScan(size=32, views=3).simulate(cylinder(), FINE)
    lines = fine.operator(torch.zeros(fine.grid.shape)).shape
    assert fine.data.shape[1:] == lines
    twice = ConeBeamScan(size=64, views=3).simulate(cylinder(), FINE).data[0]
    rows = min(twice.shape[1] // 2, fine.data.shape[2])
    top, bottom = (twice.shape[1] - 2 * rows) // 2, (fine.data.shape[2] - rows) // 2
    binned = twice[:, top : top + 2 * rows]
    means = torch.nn.functional.avg_pool2d(torch.exp(-binned), 2).log().neg()
    torch.testing.assert_close(fine.data[0][:, bottom : bottom + rows], means, rtol=0, atol=0.05)


def test_high_rows_measure_the_mean_intensity_of_all_their_slices():
    """Two rays a slice, each a quarter of a slice off a centre: through slices in turn 0 and 0.5, by their line."""
    volume = torch.zeros(1, *FINE.shape)
    volume[:, 24:40, 24:40, ::2] = 0.5
    row = 4 * FINE.spacing[2]
    scan = ConeBeamScan(size=32, views=1, row_spacing=row, unit_attenuation=0.02)
    assert scan.geometry(FINE.fitted(32)).resolution(FINE.fitted(32))[2] == pytest.approx(4)
    data = scan.simulate(volume, FINE).data[0, 0]
    middle = data[data.shape[0] // 2 - 1 : data.shape[0] // 2 + 1, data.shape[1] // 2]
    through = 16 * 5.0 * 0.5 * 0.02
    mean = (math.exp(-through / 4) + math.exp(-3 * through / 4)) / 2
    torch.testing.assert_close(middle, torch.full((2,), -math.log(mean)), rtol=1e-3, atol=0)  # two rays: through / 2


def test_row_spacing_keeps_the_detectors_height():
    scans = {row: ConeBeamScan(size=32, views=2, row_spacing=row).geometry(FINE) for row in (None, 4.0, 5.0)}
    columns = {scan.detector_shape[1] for scan in scans.values()}
    assert columns == {scans[None].detector_shape[1]}
    for row in (4.0, 5.0):
        rows = scans[row].detector_shape[0]
        assert rows * row * 1200 / 700 == pytest.approx(1024, abs=row * 1200 / 700)
        assert scans[row].resolution(FINE)[2] * FINE.spacing[2] == pytest.approx(row)


def test_noise_comes_after_the_mean():
    seen = []

    def noise(clean, generator):
        seen.append(clean.shape)
        return clean + torch.randn(clean.shape, generator=generator)

    scan = ConeBeamScan(size=32, views=3)
    noisy = scan.simulate(cylinder(), FINE, noise=noise, generator=torch.Generator().manual_seed(0))
    clean = scan.simulate(cylinder(), FINE)
    assert seen == [tuple(clean.data.shape[1:])]
    assert float((noisy.data - clean.data).std()) == pytest.approx(1, rel=0.05)
    assert noisy.noise_level == pytest.approx(1, rel=0.1)


def test_an_oblique_grid_is_scanned_about_its_own_axis():
    angle = math.radians(20)
    turn = np.array([[1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]])
    affine = np.asarray(FINE.affine).copy()
    affine[:3] = turn @ affine[:3]
    oblique = ConeBeamScan(size=32, views=5).simulate(cylinder(), Grid(FINE.shape, affine))
    straight = ConeBeamScan(size=32, views=5).simulate(cylinder(), FINE)
    torch.testing.assert_close(oblique.data, straight.data, rtol=1e-4, atol=1e-4)
    assert oblique.grid.shape == straight.grid.shape
    np.testing.assert_allclose(oblique.grid.center, turn @ straight.grid.center, atol=1e-6)


@pytest.mark.parametrize(
    ("volume", "said"),
    [
        (torch.zeros(2, *FINE.shape), "volume: found 2 channels, expected 1"),
        (torch.zeros(1, 5, 5, 5), "volume: found shape"),
        (torch.zeros(1, *FINE.shape, dtype=torch.complex64), "volume: found"),
    ],
)
def test_volumes_that_cannot_be_scanned(volume, said):
    with pytest.raises(InputError, match=said):
        ConeBeamScan(size=32).simulate(volume, FINE)


def test_a_body_higher_than_the_detector_is_refused():
    tall = Grid.centered((64, 64, 200), (5.0, 5.0, 6.0))
    with pytest.raises(InputError, match=r"found 1200 mm from the first to the last slice, expected at most \d+ mm"):
        ConeBeamScan(size=32).simulate(torch.zeros(1, *tall.shape), tall)


def test_size_is_checked():
    with pytest.raises(InputError, match="size: found 0"):
        ConeBeamScan(size=0)


def test_a_helix_passes_over_the_whole_volume():
    """24 views a turn that rise by 20 mm; 60 mm of slices and half a turn on both sides: 4 turns."""
    grid = FINE.fitted(32)
    scan = ConeBeamScan(size=32, views=24, table_feed=20.0).geometry(grid)
    circle = ConeBeamScan(size=32, views=24).geometry(grid)
    assert scan.views == 96
    np.testing.assert_allclose(np.diff(scan.source[:, 2]), 20 / 24)
    np.testing.assert_allclose(scan.source[:, 2].mean(), FINE.center[2])
    np.testing.assert_allclose(scan.source[24:48, :2], circle.source[:, :2], atol=1e-9)
    rows = 20 / (1024 / 64 * 700 / 1200)  # as high at the isocentre as a turn
    assert scan.detector_shape == (math.ceil(rows), 64)


def test_a_helix_sees_a_body_that_goes_on(monkeypatch):
    """Every slice is alike, and so is every turn; the views are projected some at a time."""
    scan = ConeBeamScan(size=32, views=10, table_feed=25.0)
    whole, _ = scan.project(cylinder(), FINE)
    monkeypatch.setattr("monai_iscs.scans.fine.VIEWS", 7)
    parts, _ = scan.project(cylinder(), FINE)
    torch.testing.assert_close(parts.data, whole.data, rtol=0, atol=0)
    torch.testing.assert_close(whole.data[:10], whole.data[20:30], rtol=2e-4, atol=1e-4)


def test_a_helix_is_reconstructed_in_its_place():
    measurement = ConeBeamScan(size=32, views=40, table_feed=40.0).simulate(cylinder(), FINE)
    assert measurement.grid.center == pytest.approx(FINE.center)
    volume = sirt(measurement)[0]
    middle = volume.shape[2] // 2
    assert float(volume[14:18, 14:18, middle].mean()) == pytest.approx(0.4, rel=0.1)
    assert float(volume[19:21, 13:15, middle].mean()) == pytest.approx(0.8, rel=0.2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"table_feed": 0.0}, "table_feed: found 0 mm, expected a positive number"),
        ({"table_feed": 20.0, "arc": 180.0}, "arc: found 180 degrees with a table_feed, expected 360"),
    ],
)
def test_no_helix(options, said):
    with pytest.raises(InputError, match=said):
        ConeBeamScan(size=32, **options)


@pytest.mark.parametrize("feed", [1.0, 1e4])
def test_a_helix_that_no_detector_has(feed):
    scan = ConeBeamScan(size=32, views=4, table_feed=feed)
    with pytest.raises(InputError, match=rf"table_feed: found {feed:g} mm, expected 9.33 to 597.3 mm"):
        scan.geometry(FINE.fitted(32))


def test_a_body_wider_than_a_helix_sees():
    wide = Grid.centered((64, 8, 60), (20.0, 20.0, 20.0))
    with pytest.raises(InputError, match=r"of the body's attenuation .* outside the detector"):
        ConeBeamScan(size=32, views=4, table_feed=60.0).project(torch.ones(1, *wide.shape), wide)
