# SPDX-License-Identifier: Apache-2.0
"""Filtered backprojection of helices, against ellipsoids whose line integrals are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from monai_iscs.classical import direct, fdk, helical_fbp, sirt
from monai_iscs.classical.direct import METHODS, direct_method
from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector, SliceAveraging
from monai_iscs.scans import Measurement

GRID = Grid.centered((60, 60, 16), (6.0, 6.0, 4.0))
BODY = ((0.0, 0.0, 0.0), (150.0, 120.0, 1000.0), 0.02)
BALL = ((70.0, -40.0, 12.0), (32.0, 32.0, 16.0), 0.01)  # on top of the body


def circle(*, views: int = 90, turns: float = 1.0, clockwise: bool = False, **changes) -> ConeBeamGeometry:
    """90 views a turn, all on one circle."""
    angles = 0.4 + np.arange(round(views * turns)) * 2 * np.pi / views * (-1 if clockwise else 1)
    settings = {"detector_shape": (24, 150), "detector_pitch": (5.0, 5.0), **changes}
    return ConeBeamGeometry.circular(source_to_isocenter=600, source_to_detector=1050, angles=angles, **settings)


def helix(*, rise: float = 50.0, turns: float = 3.0, **settings) -> ConeBeamGeometry:
    """Pitch 0.73: the rows see 68.6 mm of the axis."""
    scan = circle(turns=turns, **settings)
    up = rise * (np.arange(scan.views) - (scan.views - 1) / 2) * turns / scan.views
    return scan.moved(up[:, None] * [0.0, 0.0, 1.0])


def curved(scan: ConeBeamGeometry) -> ConeBeamGeometry:
    return replace(scan, curved_about=scan.source + (scan.detector - scan.source) * [0.0, 0.0, 1.0])


def flying(scan: ConeBeamGeometry) -> ConeBeamGeometry:
    """The source at another place in each view, as far as flying focal spots go, and the detector where it was."""
    out = scan.source / np.linalg.norm(scan.source[:, :2], axis=1, keepdims=True) * [1.0, 1.0, 0.0]
    along = np.cross([0.0, 0.0, 1.0], out)
    away, aside, up = (np.resize(values, scan.views)[:, None] for values in ((4, -3, 1), (1.2, -0.6, 1.8), (-0.6, 0.7)))
    return replace(scan, source=scan.source + away * out + aside * along + up * np.array([0.0, 0.0, 1.0]))


def lines(scan: ConeBeamGeometry, *ellipsoids) -> torch.Tensor:
    """Chords times values, (1, view, v, u)."""
    rows, columns = scan.detector_shape
    places = scan.column_places(np.arange(columns) - (columns - 1) / 2)
    row = np.arange(rows)[:, None, None] - (rows - 1) / 2
    ray = (places - scan.source[:, None])[:, None] + row * scan.v[:, None, None]
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    total = 0.0
    for center, radii, value in ellipsoids:
        start = ((scan.source - center) / radii)[:, None, None]
        step = ray / radii
        a, b, c = (step**2).sum(-1), (step * start).sum(-1), (start**2).sum(-1) - 1
        total = total + 2 * value * np.sqrt(np.maximum(b**2 - a * c, 0)) / a
    return torch.from_numpy(total).float()[None]


def inside(ellipsoid, grid: Grid, scale: float) -> torch.Tensor:
    """Voxels inside of an ellipsoid of so many times its size, (X, Y, Z)."""
    center, radii, _ = ellipsoid
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    place = index @ np.asarray(grid.affine)[:3, :3].T + np.asarray(grid.affine)[:3, 3]
    return torch.from_numpy((((place - center) / np.multiply(radii, scale)) ** 2).sum(-1) < 1)


def measured(scan: ConeBeamGeometry, grid: Grid = GRID, *ellipsoids) -> Measurement:
    return Measurement(lines(scan, *(ellipsoids or (BODY, BALL))), ConeBeamProjector(scan, grid), grid)


SCANS = {
    "flat": helix(),
    "curved": curved(helix()),
    "clockwise": curved(helix(clockwise=True)),
    "downwards": curved(helix(rise=-50.0)),
    "flying": flying(curved(helix())),
    "flat and flying": flying(helix()),
    "rows fall": (lambda scan: replace(scan, v=-scan.v))(curved(helix())),
    "steep": curved(helix(rise=90.0)),
    "offset": helix(detector_offset=(0.0, 21.25)),
    "32.5 views a turn": curved(helix(views=32.5)),
    "a curved circle": curved(circle()),
}


@pytest.mark.parametrize("scan", SCANS.values(), ids=SCANS)
def test_an_ellipsoid_has_its_value_at_its_place(scan):
    found = helical_fbp(measured(scan))[0]
    ball = inside(BALL, GRID, 0.7)
    assert float(found[ball].mean()) == pytest.approx(0.03, rel=0.015)
    body = inside(BODY, GRID, 0.8) & ~inside(BALL, GRID, 1.4)
    assert float(found[body].mean()) == pytest.approx(0.02, rel=0.01)
    slices = torch.stack([found[..., k][body[..., k]].mean() for k in range(GRID.shape[2])])
    assert slices.numpy() == pytest.approx(np.full(16, 0.02), rel=0.015)
    for axis in range(3):  # no mirror image
        assert float(found[ball.flip(axis) & body].mean()) == pytest.approx(0.02, rel=0.1)


def test_the_same_on_both_detectors():
    flat, bent = (helical_fbp(measured(scan), hann=1.0)[0] for scan in (helix(), curved(helix())))
    body = inside(BODY, GRID, 0.85)
    assert float((flat - bent)[body].abs().mean()) < 2e-4  # 10 HU: they have other columns


def test_a_circle_of_one_turn_is_fdk():
    scan = circle()
    measurement = measured(scan)
    ours, feldkamp = (method(measurement, hann=0.8)[0] for method in (helical_fbp, fdk))
    seen = inside(((0.0, 0.0, 0.0), (190.0, 190.0, 16.0), 0.0), GRID, 1.0)  # not by the outermost rows
    torch.testing.assert_close(ours[seen], feldkamp[seen], rtol=1e-3, atol=2e-5)


def test_repeated_turns_of_a_circle_count_once():
    one, two = (helical_fbp(measured(circle(turns=turns))) for turns in (1.0, 2.0))
    torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-5)


def test_a_grid_whose_axes_are_turned():
    """Feet first, supine: x and z of the grid run against the scanner's."""
    scan = flying(curved(helix()))
    affine = np.diag([-1.0, 1.0, -1.0, 1.0]) @ np.asarray(GRID.affine)
    turned = helical_fbp(measured(scan, Grid(GRID.shape, affine)))
    torch.testing.assert_close(turned, helical_fbp(measured(scan)).flip(1, 3), rtol=1e-4, atol=1e-6)


def test_it_is_linear_and_takes_channels_and_factors():
    scan = curved(helix(turns=2.0))
    A = ConeBeamProjector(scan, GRID)
    y = torch.cat([lines(scan, BODY), lines(scan, BALL)])
    found = helical_fbp(Measurement(-3.0 * y, -3.0 * A, GRID))
    torch.testing.assert_close(found.sum(0), helical_fbp(measured(scan))[0], rtol=1e-3, atol=2e-5)
    assert found.dtype == torch.float32


def test_bodies_wider_than_the_detector_have_no_bright_rim():
    wide = ((0.0, 0.0, 0.0), (260.0, 260.0, 1000.0), 0.02)
    scan = curved(helix())
    found = helical_fbp(measured(scan, GRID, wide))[0]
    rows = inside(((0.0, 0.0, 0.0), (170.0, 170.0, 1000.0), 0.0), GRID, 1.0)
    assert float((found[rows] / 0.02 - 1).abs().mean()) < 0.08


def test_it_is_nearer_to_the_truth_than_sirt():
    scan = flying(curved(helix(views=24, turns=3.0)))
    measurement = measured(scan)
    truth = 0.02 * inside(BODY, GRID, 1.0) + 0.01 * inside(BALL, GRID, 1.0)
    errors = [float((method(measurement)[0] - truth)[..., 2:-2].norm()) for method in (helical_fbp, sirt)]
    assert errors[0] < errors[1]


def test_it_is_the_direct_reconstruction_of_helices_and_curved_circles():
    for scan in (helix(), curved(helix()), curved(circle())):
        measurement = measured(scan)
        assert direct_method(measurement.operator) == "helical-fbp"
        assert torch.equal(direct(measurement), helical_fbp(measurement))
    assert direct_method(ConeBeamProjector(circle(), GRID)) == "fdk"
    assert direct_method(ConeBeamProjector(helix(views=15), GRID)) == "sirt"
    assert direct_method(ConeBeamProjector(curved(circle(turns=0.7)), GRID)) == "sirt"


def test_the_direct_reconstruction_is_computed_once(monkeypatch):
    calls = []
    monkeypatch.setitem(METHODS, "helical-fbp", lambda given: calls.append(given) or torch.zeros(given.volume_shape))
    measurement = measured(curved(helix()))
    first = direct(measurement)
    assert direct(measurement.to("cpu")) is first
    assert len(calls) == 1
    direct(measurement.changed(data=2 * measurement.data))
    assert len(calls) == 2


def wavy() -> ConeBeamGeometry:
    scan = helix()
    return scan.moved(40 * np.sin(np.arange(scan.views) / 9)[:, None] * [0.0, 0.0, 1.0])


OTHERS = {
    "an arc": (
        curved(circle(turns=0.7)),
        r"found 0\.7 turns, expected a turn or more on a helix or circle \(sirt and",
    ),
    "few views": (helix(views=5), "found 5 views a turn"),
    "half-fan": (
        helix(detector_offset=(0.0, 150.0)),
        r"found a detector that reaches \d+\.\d mm beyond the axis on one",
    ),
    "one side": (helix(detector_offset=(0.0, 450.0)), r"found a detector that reaches -\d+\.\d mm beyond the axis on"),
    "too steep": (
        helix(rise=150.0),
        r"found a source that rises by 150\.0 mm in a turn, and a detector that sees 68\.6",
    ),
    "wavy": (wavy(), r"found a source \d+\.\d mm off a helix along z, in view \d+"),
}


@pytest.mark.parametrize(("scan", "found"), OTHERS.values(), ids=OTHERS)
def test_other_paths_are_refused_by_name(scan, found):
    A = ConeBeamProjector(scan, Grid.centered((8, 8, 4), (20.0, 20.0, 20.0)))
    with pytest.raises(InputError, match=f"^helical_fbp: {found}"):
        helical_fbp(Measurement(torch.zeros(1, *A.range_shape), A))
    assert direct_method(A) == "sirt"


def test_what_else_it_refuses():
    A = SliceAveraging((8, 8, 4), factor=2)
    with pytest.raises(InputError, match="helical_fbp: found a measurement of SliceAveraging"):
        helical_fbp(Measurement(torch.zeros(1, *A.range_shape), A))
    with pytest.raises(InputError, match="hann: found 2"):
        helical_fbp(measured(helix()), hann=2.0)
