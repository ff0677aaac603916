# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector
from monai_iscs.operators.backends.rays import RayTable
from monai_iscs.operators.circle import rotation_axis
from monai_iscs.operators.helix import Helix

GRID = Grid.centered((16, 16, 8), (20.0, 20.0, 20.0))
PAPER = ConeBeamGeometry.paper(GRID, views=8)
SCANNER = {
    "source_to_isocenter": 700.0,
    "source_to_detector": 1200.0,
    "detector_shape": (32, 32),
    "detector_pitch": (32.0, 32.0),
}
TURN = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])


def circular(**changes) -> ConeBeamGeometry:
    return ConeBeamGeometry.circular(**{"views": 8, **SCANNER, **changes})


def degrees(geometry: ConeBeamGeometry) -> np.ndarray:
    return np.degrees(np.arctan2(geometry.source[:, 1], geometry.source[:, 0]))


def test_paper_geometry():
    full = ConeBeamGeometry.paper(Grid.centered((256, 256, 300), (1.5, 1.5, 1.5)))
    assert np.linalg.norm(full.source, axis=1) == pytest.approx(np.full(30, 700.0))
    assert np.linalg.norm(full.detector - full.source, axis=1) == pytest.approx(np.full(30, 1200.0))
    assert full.projection_shape == (30, 512, 512)
    assert np.linalg.norm(full.u, axis=1) == pytest.approx(np.full(30, 2.0))
    assert full.v == pytest.approx(np.tile([0, 0, 2.0], (30, 1)))
    half = ConeBeamGeometry.paper(Grid.centered((128, 100, 60), (3.0, 3.0, 5.0)), views=100, arc=100)
    assert half.projection_shape == (100, 256, 256)
    assert np.linalg.norm(half.v, axis=1) == pytest.approx(np.full(100, 4.0))
    assert degrees(half) == pytest.approx(np.arange(100))
    assert (half.views, full.views) == (100, 30)


def test_paper_geometry_goes_where_the_grid_is():
    """The same operator for a volume that is moved, rotated or stored in the opposite direction."""
    volume = torch.rand(GRID.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = ConeBeamProjector(PAPER, GRID, backend="torch")(volume)
    for axes in (np.eye(3), TURN, np.diag([-1.0, -1.0, 1.0]), np.diag([-1.0, 1.0, 1.0]), TURN[:, [2, 0, 1]]):
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = axes * GRID.spacing, [-71.5, 340.0, 1250.25]
        grid = Grid(GRID.shape, affine)
        geometry = ConeBeamGeometry.paper(grid, views=8)
        found = ConeBeamProjector(geometry, grid, backend="torch")(volume)
        torch.testing.assert_close(found, expected)
        assert geometry.resolution(grid) == pytest.approx(PAPER.resolution(GRID))


def test_a_full_circle_and_a_partial_arc_leave_their_end_out():
    assert degrees(circular(views=4)) % 360 == pytest.approx([0, 90, 180, 270])
    arc = circular(views=4, arc=100, first_angle=10, clockwise=True)
    assert degrees(arc) == pytest.approx([10, -15, -40, -65])


def test_vectors_of_a_circle():
    geometry = circular(views=None, angles=(0.0, math.pi / 2), detector_offset=(3.0, 5.0))
    assert geometry.source == pytest.approx(np.array([[700, 0, 0], [0, 700, 0]]), abs=1e-9)
    assert geometry.detector == pytest.approx(np.array([[-500, 5, 3], [-5, -500, 3]]), abs=1e-9)
    assert geometry.u == pytest.approx(np.array([[0, 32, 0], [-32, 0, 0]]), abs=1e-9)
    assert geometry.v == pytest.approx(np.array([[0, 0, 32], [0, 0, 32]]), abs=1e-9)
    moved = circular(views=None, angles=(0.0, math.pi / 2), detector_offset=(3.0, 5.0), center=(10.0, -20.0, 30.0))
    for name in ("source", "detector"):
        assert getattr(moved, name) - getattr(geometry, name) == pytest.approx(np.tile([10.0, -20, 30], (2, 1)))
    assert np.array_equal(moved.u, geometry.u)


def test_frozen_hashable_and_normalised():
    geometry = replace(PAPER, source=PAPER.source.tolist(), detector_shape=np.array([32, 32], np.int16))
    assert geometry == PAPER
    assert hash(geometry) == hash(PAPER)
    assert geometry != replace(PAPER, source=PAPER.source + 1)
    assert geometry != "a geometry"
    with pytest.raises(FrozenInstanceError):
        geometry.source = ()
    with pytest.raises(ValueError, match="read-only"):
        geometry.source[0, 0] = 1


def test_json_keeps_every_number():
    odd = circular(first_angle=0.1, detector_offset=(1 / 3, 0.2), center=(math.pi, 0.1, 1e-7))
    assert ConeBeamGeometry.from_dict(json.loads(json.dumps(odd.as_dict()))) == odd
    with pytest.raises(
        InputError, match=r"geometry: found \['source'\], expected source, detector, u, v and detector_sh"
    ):
        ConeBeamGeometry.from_dict({"source": [[1, 2, 3]]})


def test_some_of_the_views():
    part = PAPER.part(2, 5)
    assert part.projection_shape == (3, 32, 32)
    assert np.array_equal(part.detector, PAPER.detector[2:5])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": np.zeros((0, 3))}, r"source: found shape \(0, 3\), expected \(views, 3\)"),
        ({"source": PAPER.source[:, :2]}, r"source: found shape \(8, 2\), expected \(8, 3\)"),
        ({"source": 3.0}, r"source: found shape \(\)"),
        ({"source": "here"}, r"source: found 'here', expected numbers"),
        ({"detector": PAPER.detector[:4]}, r"detector: found shape \(4, 3\), expected \(8, 3\)"),
        ({"u": np.full((8, 3), math.nan)}, "u: found NaN or infinite"),
        ({"v": PAPER.u}, "u, v: found a detector without area"),
        ({"source": PAPER.detector + PAPER.u}, "source: found one in the detector's plane"),
        ({"detector_shape": (0, 4)}, r"detector_shape: found \(0, 4\), expected 2 finite positive whole numbers"),
        ({"detector_shape": (2.5, 4)}, "detector_shape: found"),
        ({"detector_shape": (4,)}, "detector_shape: found"),
    ],
)
def test_bad_fields(change, message):
    with pytest.raises(InputError, match=message):
        replace(PAPER, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"views": 0}, "views: found 0"),
        ({"views": -3}, "views: found -3"),
        ({"views": 2.5}, "views: found 2.5"),
        ({"arc": 0}, "arc: found 0"),
        ({"arc": -90}, "arc: found -90"),
        ({"arc": 361}, "arc: found 361"),
        ({"arc": math.nan}, "arc: found nan"),
        ({"first_angle": math.inf}, "first_angle: found inf"),
        ({"views": None}, "views: found None and angles None, expected one of the two"),
        ({"angles": (0.0,)}, r"views: found 8 and angles \(0.0,\), expected one"),
        ({"views": None, "angles": ()}, r"angles: found \(\), expected at least one"),
        ({"views": None, "angles": (0.0, math.nan)}, "angles: found .* expected at least one finite number"),
        ({"views": None, "angles": 3.0}, "angles: found 3.0"),
        ({"source_to_isocenter": -700.0}, "source_to_isocenter: found -700"),
        ({"source_to_isocenter": math.nan}, "source_to_isocenter: found nan"),
        ({"source_to_detector": 700.0}, "source_to_detector: found 700.* more than source_to_isocenter"),
        ({"detector_pitch": (1.0, 0.0)}, "detector_pitch: found .* positive"),
        ({"detector_offset": (1.0,)}, "detector_offset: found .* expected 2"),
        ({"center": (1.0, "a", 0.0)}, "center: found .* expected 3"),
    ],
)
def test_bad_circles(change, message):
    with pytest.raises(InputError, match=message):
        circular(**change)


@pytest.mark.parametrize(
    ("scanner", "grid", "message"),
    [
        ({}, {"center": (650.0, 0.0, 0.0)}, "grid: found a volume that reaches the source"),
        ({}, {"center": (1650.0, 0.0, 0.0)}, "grid: found a volume that reaches the source"),
        ({"detector_pitch": (60.0, 60.0)}, {"spacing": (20.0, 20.0, 100.0)}, "geometry: found rays that climb up to"),
    ],
)
def test_what_joseph_s_method_cannot_do(scanner, grid, message):
    grid = Grid.centered(**{"shape": (16, 16, 8), "spacing": (20.0, 20.0, 20.0), **grid})
    for backend in ("auto", "numba", "torch", "triton"):
        with pytest.raises(InputError, match=message):
            ConeBeamProjector(circular(**scanner), grid, backend=backend)


def test_tilted_detectors_and_sheared_grids_are_refused():
    tilted = replace(PAPER, u=PAPER.u + 0.01 * PAPER.v)
    with pytest.raises(
        InputError, match=r"geometry: found a detector that is tilted by up to 0\.573 degrees, in view 0"
    ):
        RayTable.of(tilted, GRID)
    with pytest.raises(InputError, match="tilted"):
        tilted.truncated_fraction(torch.zeros(GRID.shape), GRID)
    leaning = np.eye(4)
    leaning[:3, :3] = np.array([[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]]) * 20
    with pytest.raises(InputError, match=r"tilted by up to 36\.9 degrees"):
        RayTable.of(PAPER, Grid(GRID.shape, leaning))
    sheared = np.diag([20.0, 20, 20, 1])
    sheared[0, 1] = 1
    with pytest.raises(InputError, match=r"grid: found axes whose cosine is 0\.0499"):
        RayTable.of(PAPER, Grid(GRID.shape, sheared))


@pytest.mark.parametrize(
    "orbit", [{}, {"views": 1}, {"views": 2}, {"arc": 60, "clockwise": True}, {"views": 3, "arc": 4}]
)
def test_a_circle_is_found_again(orbit):
    geometry = circular(**orbit, detector_offset=(4.0, -30.0), center=(30.0, -20.0, 1500.0), detector_pitch=(8.0, 9.0))
    ray = geometry.source[0] - [30.0, -20.0, 1500.0]
    near = np.array([30.0, -20.0, 1500.0]) + (0 if geometry.views == 1 else [100.0, 50.0, 0.0])
    assert rotation_axis(geometry, near) == pytest.approx([30.0, -20.0], abs=1e-6)
    circle = Helix.of(geometry, near)
    assert circle.rise == 0
    assert circle.center == pytest.approx((30.0, -20.0, 1500.0))
    assert (circle.source_to_isocenter, circle.source_to_detector) == pytest.approx((700, 1200))
    assert (circle.detector_pitch, circle.detector_offset) == (pytest.approx((8, 9)), pytest.approx((4, -30)))
    assert circle.angles[0] == pytest.approx(math.atan2(ray[1], ray[0]) % (2 * math.pi), abs=1e-9)


@pytest.mark.parametrize("rise", [80.0, -35.0])
def test_a_helix_is_found_again(rise):
    """Three turns: where the angle is 0, the source is as high as `center`."""
    angles = 0.4 + np.linspace(0, 6 * math.pi, 40)
    circle = circular(views=None, angles=angles, center=(30.0, -20.0, 1500.0))
    up = rise * angles[:, None] / (2 * math.pi) * [0, 0, 1]
    helix = Helix.of(replace(circle, source=circle.source + up, detector=circle.detector + up), (0.0, 0.0, 0.0))
    assert helix.rise == pytest.approx(rise)
    assert helix.angles == pytest.approx(angles)
    assert helix.center == pytest.approx((30.0, -20.0, 1500.0))
    assert helix.detector_offset == pytest.approx((0, 0), abs=1e-9)


@pytest.mark.parametrize("name", ["source", "detector", "u", "v"])
def test_what_is_no_circle_is_refused_where_one_is_needed(name):
    moved = getattr(PAPER, name) + 0.01 * np.eye(3)[2] * (np.arange(8) == 5)[:, None]
    with pytest.raises(
        InputError, match=rf"geometry: found {name} of view 5 0\.0\d+ mm off a circle or helix .*expected"
    ):
        Helix.of(replace(PAPER, **{name: moved}), GRID.center)


def test_truncated_fraction_of_what_fits_is_zero():
    volume = torch.zeros(16, 16, 8)
    volume[6:10, 6:10] = 1
    assert PAPER.truncated_fraction(volume, GRID) == pytest.approx(0, abs=1e-12)
    assert PAPER.truncated_fraction(torch.zeros(1, 1, 16, 16, 8), GRID) == 0


def test_truncated_fraction_ignores_air_in_the_corners():
    grid = Grid.centered((16, 16, 8), (40.0, 40.0, 20.0))  # 640 mm wide: the corners are outside the field
    volume = torch.full((16, 16, 8), 0.039)
    volume[6:10, 6:10] = 1
    assert PAPER.truncated_fraction(volume, grid) > 0.01
    assert PAPER.truncated_fraction(volume, grid, air=0.04) == pytest.approx(0, abs=1e-12)
    volume[0, 0] = 1
    assert PAPER.truncated_fraction(volume, grid, air=0.04) == pytest.approx(1 / 17, rel=1e-6)


def test_truncated_fraction_counts_what_leaves_above_and_below():
    """At the axis the detector sees |z| < 512 · 700 / 1200 mm."""
    grid = Grid.centered((1, 1, 8), (20.0, 20.0, 100.0))
    geometry = circular(views=1)
    seen = 2 * 512 * 700 / 1200
    assert geometry.truncated_fraction(torch.ones(1, 1, 8), grid) == pytest.approx(1 - seen / 800, rel=1e-6)
    raised = circular(views=1, detector_offset=(300.0, 0.0))
    assert raised.truncated_fraction(torch.ones(1, 1, 8), grid) == pytest.approx(
        1 - (400 + (512 - 300) * 700 / 1200) / 800, rel=1e-6
    )


def test_truncated_fraction_takes_the_worst_view():
    geometry = circular(views=None, angles=(0.0, math.pi / 2), detector_shape=(32, 6))  # sees |u| < 96 mm
    volume = torch.zeros(16, 16, 8)
    volume[1, 7:9] = 1  # in the fan of the first view, far outside the second's
    assert geometry.truncated_fraction(volume, GRID) == pytest.approx(1.0)
    assert geometry.part(0, 1).truncated_fraction(volume, GRID) == pytest.approx(0.0)


def test_truncated_fraction_checks_the_shape():
    with pytest.raises(InputError, match=r"\(16, 16, 9\).*\(16, 16, 8\)"):
        PAPER.truncated_fraction(torch.zeros(16, 16, 9), GRID)
