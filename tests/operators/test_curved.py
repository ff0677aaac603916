# SPDX-License-Identifier: Apache-2.0
"""Detectors that are part of a cylinder. The projectors' laws run over them, too (conftest.SETUPS)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from monai_iscs.classical import fdk
from monai_iscs.classical.direct import direct_method
from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector
from monai_iscs.operators.field import missed_fraction, shadow
from monai_iscs.scans import Measurement, Projections, seen_share, upright
from monai_iscs.scans.readers import write_projections

FLAT = ConeBeamGeometry.circular(
    source_to_isocenter=600.0,
    source_to_detector=1000.0,
    detector_shape=(6, 40),
    detector_pitch=(6.0, 25.0),
    views=5,
    first_angle=11.0,
)
CURVED = replace(FLAT, curved_about=FLAT.source)
SHIFTED = replace(CURVED, source=CURVED.source + np.array([3.0, -2.0, 1.5]))  # a flying focal spot
GRID = Grid.centered((12, 14, 6), (25.0, 22.0, 6.0))


def test_every_pixel_of_an_arc_about_the_source_is_equally_far_from_it():
    places = CURVED.column_places(np.arange(40) - 19.5)
    assert np.linalg.norm(places - CURVED.source[:, None], axis=2) == pytest.approx(np.full((5, 40), 1000.0))
    ray = places[:, 1:] - CURVED.source[:, None], places[:, :-1] - CURVED.source[:, None]
    cosine = (ray[0] * ray[1]).sum(2) / 1e6
    assert np.arccos(cosine) == pytest.approx(np.full((5, 39), 0.025), rel=1e-6)


def test_a_column_by_hand():
    """Source on the x axis: the middle of the detector lies at -400, and positive columns towards +y."""
    angle = np.radians(11.0)
    turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    (place,) = CURVED.chosen([0]).turned(turn).column_places([10.0])[0]
    assert place == pytest.approx([600 - 1000 * np.cos(0.25), 1000 * np.sin(0.25), 0])


@pytest.mark.parametrize("scan", [FLAT, CURVED, SHIFTED], ids=["flat", "curved", "shifted"])
def test_a_shadow_is_where_the_ray_ends(scan):
    columns, shares = np.array([-18.0, -3.2, 0.0, 7.7, 19.0]), np.array([0.3, 0.55, 0.8, 0.61, 0.4])
    places = scan.column_places(columns)
    for view in range(scan.views):
        start = scan.source[view]
        points = start + shares[:, None] * (places[view] - start)
        column, share = shadow(scan, view, points[:, 0], points[:, 1])
        assert column == pytest.approx(columns, abs=1e-9)
        assert share == pytest.approx(shares, rel=1e-9)
        behind = start - 0.2 * (places[view] - start)
        assert (shadow(scan, view, behind[:, 0], behind[:, 1])[1] < 0).all()


@pytest.mark.parametrize("scan", [FLAT, CURVED], ids=["flat", "curved"])
def test_larger_pixels_are_at_the_middle_of_theirs(scan):
    part = scan.binned((1, 4), (2, 6), (2, 5))
    assert part.detector_shape == (2, 6)
    fine = scan.column_places(4 + 5 * np.arange(6) + 2 - 19.5)
    up = (1 + 2 - 0.5 - 2.5) * scan.v[:, None]
    assert part.column_places(np.arange(6) - 2.5) == pytest.approx(fine + up, abs=1e-9)
    assert np.linalg.norm(part.u, axis=1) == pytest.approx(np.full(5, 125.0))
    assert part.v == pytest.approx(2 * scan.v)


def test_it_is_kept_and_compared():
    assert ConeBeamGeometry.from_dict(SHIFTED.as_dict()) == SHIFTED
    assert "curved_about" not in FLAT.as_dict()
    assert CURVED != FLAT
    assert hash(replace(CURVED)) == hash(CURVED)
    assert SHIFTED.part(1, 3).curved_about == pytest.approx(SHIFTED.curved_about[1:3])
    moved = SHIFTED.moved([1.0, 2.0, 3.0])
    assert moved.column_places([5.0]) == pytest.approx(SHIFTED.column_places([5.0]) + np.array([1.0, 2.0, 3.0]))
    assert moved.u == pytest.approx(SHIFTED.u)


BAD = {
    "at the detector": {"curved_about": FLAT.detector},
    "beside its middle": {"curved_about": FLAT.source + FLAT.u},
    "above its middle": {"curved_about": FLAT.source + FLAT.v},
    "sheared": {"curved_about": FLAT.source, "v": FLAT.v + 0.1 * FLAT.u},
    "source outside": {"curved_about": FLAT.detector + 0.3 * (FLAT.source - FLAT.detector)},
    "half a circle": {"curved_about": FLAT.source, "u": FLAT.u * 4},
    "shape": {"curved_about": FLAT.source[:3]},
    "not finite": {"curved_about": FLAT.source * np.nan},
}


@pytest.mark.parametrize("changes", BAD.values(), ids=BAD.keys())
def test_no_such_cylinder(changes):
    with pytest.raises(InputError, match=r"curved_about: found .*, expected"):
        replace(FLAT, **changes)


@pytest.mark.parametrize("scan", [FLAT, CURVED, SHIFTED], ids=["flat", "curved", "shifted"])
def test_what_a_detector_misses(scan):
    """A block that the detector's first and last columns cut off: its voxels, told apart by their angles."""
    volume = torch.zeros(GRID.shape)
    volume[:, 2:12, 2:4] = 1.0
    narrow = scan.binned((0, 12), (6, 16), (1, 1))
    missed = missed_fraction(narrow, volume, GRID, 0.0)
    inside = []
    affine = np.asarray(GRID.affine)
    x, y = (affine[axis, 3] + GRID.spacing[axis] * np.arange(GRID.shape[axis]) for axis in (0, 1))
    for view in range(scan.views):  # angles of the voxels, by hand
        ray = np.stack(np.meshgrid(x, y, indexing="ij"), -1) - narrow.source[view, :2]
        edges = narrow.column_places([-8.0, 8.0])[view, :, :2] - narrow.source[view, :2]
        side = [ray[..., 0] * edge[1] - ray[..., 1] * edge[0] for edge in edges]
        seen = side[0] * side[1] < 0
        inside.append(float((volume[..., 2].numpy() * seen).sum() / volume[..., 2].sum()))
    assert missed == pytest.approx(1 - min(inside), abs=1e-6)
    assert 0.02 < missed < 0.98
    assert 0.2 < seen.mean() < 0.95
    share = seen_share(narrow.chosen([4]), GRID)[:, :, 2].numpy()  # of the last view, whose rows all see this slice
    assert share == pytest.approx(seen.astype(np.float32))


def test_only_views_around_a_plane_are_preconditioned_as_such():
    """On a helix other views see other slices: the ramp's preconditioner made samplers diverge there."""
    assert ConeBeamProjector(CURVED, GRID).orbit_plane == {0: 25.0, 1: 22.0}
    helix = CURVED.moved(np.outer(np.arange(5), [0, 0, 20.0]))
    assert ConeBeamProjector(helix, GRID).orbit_plane is None


def test_who_needs_a_flat_one_says_so(tmp_path):
    measurement = Measurement(torch.zeros(1, *CURVED.projection_shape), ConeBeamProjector(CURVED, GRID), GRID)
    assert direct_method(measurement.operator) == "sirt"
    with pytest.raises(InputError, match="found a curved detector, expected a flat one for FDK"):
        fdk(measurement)
    projections = Projections(data=measurement.data[0], geometry=CURVED)
    with pytest.raises(InputError, match="expected a flat one for RTK"):
        write_projections(projections, tmp_path / "scan.mha")
    for backend in ("astra", "diffct", "rtk", "torch-radon"):
        with pytest.raises(InputError, match=f"backend '{backend}': .*curved detector, expected a flat one"):
            ConeBeamProjector(CURVED, GRID, backend=backend)
    tilt = np.radians(5)
    lean = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    with pytest.raises(InputError, match="expected a flat one for resampling a tilted one"):
        upright(replace(projections, geometry=CURVED.turned(lean)))
