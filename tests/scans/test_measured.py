# SPDX-License-Identifier: Apache-2.0
"""From projections to a measurement: frames, tilted detectors, and grids that hold what rays meet."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from monai_iscs.classical import fdk, sirt
from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector
from monai_iscs.scans import MeasuredScan, Measurement, Projections, field_of_view, seen_share, upright

CIRCLE = {
    "source_to_isocenter": 600,
    "source_to_detector": 1000,
    "detector_shape": (24, 48),
    "detector_pitch": (5.0, 5.0),
}
POSITIONS = {  # where a point of the scanner (x up, y to the right of who looks into it, z into it) is in RAS
    "HFS": lambda x, y, z: (-y, x, z),
    "HFP": lambda x, y, z: (y, -x, z),
    "FFS": lambda x, y, z: (y, x, -z),
    "FFP": lambda x, y, z: (-y, -x, -z),
}


def ball(grid: Grid, center=(0, 0, 0), radius=30.0, stretch=1.0) -> torch.Tensor:
    """0.02 /mm inside an ellipsoid, with soft edges."""
    index = np.indices(grid.shape).reshape(3, -1)
    points = np.asarray(grid.affine)[:3, :3] @ index + np.asarray(grid.affine)[:3, 3:]
    away = np.sqrt((((points - np.array(center)[:, None]) / np.array([1, 1, stretch])[:, None]) ** 2).sum(0))
    return torch.from_numpy((0.02 / (1 + np.exp((away - radius) / 2))).reshape(grid.shape)).float()


def projections(geometry: ConeBeamGeometry, **body) -> Projections:
    grid = Grid.centered((64, 64, 96), (2.5, 2.5, 2.5))
    tall = replace(geometry)  # the scanner sees a body that may be larger than any grid of ours
    return Projections(data=ConeBeamProjector(tall, grid)(ball(grid, **body)), geometry=geometry)


@pytest.mark.parametrize("position", POSITIONS)
def test_a_patient_lies_as_the_position_says(position):
    scan = replace(
        projections(ConeBeamGeometry.circular(views=40, **CIRCLE), center=(15, 8, 5), radius=15.0), position=position
    )
    placed = MeasuredScan(spacing=5.0, shape=(24, 24, 24), center=(0, 0, 0), unit_attenuation=1.0).place(scan)
    volume = fdk(placed.measurement)[0].clamp(min=0)[tuple(slice(*ends) for ends in placed.region)]
    mass = np.array(
        [
            float((volume * axis).sum() / volume.sum())
            for axis in torch.meshgrid(*[torch.arange(24.0)] * 3, indexing="ij")
        ]
    )
    np.testing.assert_allclose((mass - 11.5) * 5, POSITIONS[position](15, 8, 5), atol=0.5)  # a tenth of a voxel


def test_a_tilted_detector_gives_the_volume_of_an_upright_one():
    angle = np.arange(0, 360, 6.0)
    wobble = np.sin(np.radians(angle))
    tilted = ConeBeamGeometry.from_rtk(
        source_to_isocenter=600 + 2 * wobble,
        source_to_detector=1000,
        gantry_angle=angle,
        out_of_plane_angle=1.5 * wobble,
        in_plane_angle=2 + wobble,
        projection_offset=(3 * wobble, 1),
        detector_shape=(30, 48),
        detector_pitch=(5, 5),
    )
    assert not tilted.is_upright
    # the tilted detector's own measurement: its pixels are points of rays that a fine upright detector interpolates
    grid = Grid.centered((48, 48, 48), (2.5,) * 3)
    truth = ball(grid, center=(6, -4, 3))
    rays = _line_integrals(truth, grid, tilted)
    made = upright(Projections(data=rays, geometry=tilted))
    assert made.geometry.is_upright
    np.testing.assert_array_equal(made.geometry.source, tilted.source)
    expected = ConeBeamProjector(made.geometry, grid)(truth)
    seen = made.weights > 0
    assert seen.float().mean() > 0.8
    error = float((made.data - expected)[seen].norm() / expected[seen].norm())
    assert error < 0.01


def _line_integrals(volume: torch.Tensor, grid: Grid, scan: ConeBeamGeometry) -> torch.Tensor:
    """Sums over points along each ray: slow, and knows nothing of detectors that stand upright."""
    rows, columns = scan.detector_shape
    row, column = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in (rows, columns))
    half = torch.tensor(grid.shape) * torch.tensor(grid.spacing) / 2
    out = []
    for source, detector, u, v in zip(scan.source, scan.detector, scan.u, scan.v, strict=True):
        source, detector, u, v = map(torch.tensor, (source, detector, u, v))
        end = detector + row[:, None, None] * v + column[:, None] * u
        along = torch.linspace(0.4, 0.8, 240, dtype=torch.float64)[:, None, None, None]
        point = (source + along * (end - source)) / half
        sampled = torch.nn.functional.grid_sample(
            volume.double().permute(2, 1, 0)[None, None], point[None], align_corners=False
        )[0, 0]
        out.append(sampled.sum(0) * (end - source).norm(dim=-1) * 0.4 / 239)
    return torch.stack(out).float()


def test_upright_detectors_stay_as_they_are_and_rows_rise():
    scan = projections(ConeBeamGeometry.circular(views=5, **CIRCLE))
    assert upright(scan) is scan
    falling = replace(scan, data=scan.data.flip(1), geometry=replace(scan.geometry, v=-scan.geometry.v))
    turned = upright(falling)
    assert torch.equal(turned.data, scan.data)
    assert turned.geometry == scan.geometry


def test_a_detector_that_faces_up_is_refused():
    steep = ConeBeamGeometry.from_rtk(
        source_to_isocenter=600,
        source_to_detector=1000,
        gantry_angle=0,
        out_of_plane_angle=60,
        detector_shape=(8, 8),
        detector_pitch=(1, 1),
    )
    with pytest.raises(InputError, match="tilted by 60"):
        upright(Projections(data=torch.zeros(1, 8, 8), geometry=steep))


def test_the_cylinder_that_is_seen():
    scan = projections(ConeBeamGeometry.circular(views=30, **CIRCLE))
    field = field_of_view(scan)
    edge = 24 * 5.0  # of the detector from its middle
    assert field.radius == pytest.approx(600 * edge / math.hypot(1000, edge), rel=1e-6)
    assert field.heights == pytest.approx((-36, 36), abs=0.1)
    assert field.met_radius == pytest.approx(40, abs=8)  # the ball's, and its soft edge


def test_a_body_that_goes_on_above_and_below_gets_slices_there():
    """On a grid that ends where the wanted volume does, even the truth does not fit its measurement."""
    geometry = ConeBeamGeometry.circular(views=60, **(CIRCLE | {"detector_shape": (12, 48)}))
    scan = projections(geometry, radius=60.0, stretch=4.0)
    placed = MeasuredScan(spacing=1.0, shape=(144, 144, 36), center=(0, 0, 0), unit_attenuation=0.02).place(scan)
    first, last = placed.region[2]
    assert first > 0
    assert last < placed.measurement.grid.shape[2]
    away = []
    for grid in (placed.measurement.grid, Grid.centered((144, 144, 36), (1.0,) * 3)):
        expected = 0.02 * ConeBeamProjector(geometry, grid)(ball(grid, radius=60.0, stretch=4.0) / 0.02)
        away.append(float((expected - scan.data).norm() / scan.data.norm()))
    assert away[0] < 0.5 * away[1]


def test_a_body_wider_than_the_detector_gets_voxels_beside_it():
    geometry = ConeBeamGeometry.circular(views=60, **(CIRCLE | {"detector_shape": (12, 20)}))
    scan = projections(geometry, radius=50.0)
    field = field_of_view(scan)
    assert field.radius < 32
    assert field.met_radius == pytest.approx(50, abs=8)
    placed = MeasuredScan(spacing=5.0).place(scan)
    assert placed.region[0][0] >= 2
    inside = fdk(MeasuredScan(spacing=2.5, unit_attenuation=0.02).place(scan).measurement)[0]
    middle = [n // 2 for n in inside.shape]
    row = inside[middle[0] - 8 : middle[0] + 9, middle[1], middle[2]]
    assert float((row - 1).abs().max()) < 0.2  # no bright rim, no cup: cut off, it has 0.5


def test_a_voxel_is_seen_by_as_many_views_as_its_height_allows():
    geometry = ConeBeamGeometry.circular(views=36, **CIRCLE)
    grid = Grid.centered((21, 21, 41), (10.0, 10.0, 2.0))
    share = seen_share(geometry, grid)
    assert share[10, 10, 20] == 1
    assert share[10, 10, 0] == 0  # 40 mm above: no view
    assert 0.2 < share[0, 10, 3] < 0.8  # near the edge of the fan: from one side, but not from the other


def test_filled_in_pixels_do_not_count():
    geometry = ConeBeamGeometry.circular(views=40, **CIRCLE)
    scan = projections(geometry)
    broken = scan.data.clone()
    broken[:, 10, 20:24] = 9.0
    weights = torch.ones_like(broken)
    weights[:, 10, 20:24] = 0
    grid = Grid.centered((24, 24, 24), (5.0,) * 3)
    measurements = [
        Measurement(data[None], ConeBeamProjector(geometry, grid), grid, noise_level=0.0, weights=w)
        for data, w in ((scan.data, None), (broken, None), (broken, weights))
    ]
    right, wrong, mended = (sirt(m, iterations=30) for m in measurements)
    assert (mended - right).norm() < 0.05 * (wrong - right).norm()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"spacing": 0}, "spacing: found"),
        ({"spacing": (1, 2)}, "spacing: found"),
        ({"shape": (8, 8)}, "shape: found"),
        ({"shape": (8, 8, 0)}, "shape: found"),
        ({"center": (0, 0)}, "center: found"),
        ({"center": (0, 0, math.nan)}, "center: found"),
        ({"unit_attenuation": 0}, "unit_attenuation: found 0"),
        ({"unit_attenuation": math.inf}, "unit_attenuation: found inf"),
        ({"center": (900, 0, 0), "shape": (8, 8, 8)}, "expected it to overlap what the rays meet"),
        ({"center": (0, 0, 500), "shape": (8, 8, 8)}, "expected it to overlap what the rays meet"),
        ({"center": (0, 0, 0), "shape": (400, 400, 8)}, "found a volume that"),
        ({"spacing": 0.001}, "of memory, expected fewer or larger ones"),
    ],
)
def test_volumes_that_cannot_be_are_refused(change, said):
    scan = projections(ConeBeamGeometry.circular(views=8, **CIRCLE))
    with pytest.raises(InputError, match=said):
        MeasuredScan(**({"spacing": 5.0} | change)).place(scan)


@pytest.mark.parametrize(
    ("step", "said"), [(0, "every: found 0"), (1.5, "every: found 1.5"), (8, "every: found 8 with 8")]
)
def test_every_is_checked(step, said):
    with pytest.raises(InputError, match=said):
        projections(ConeBeamGeometry.circular(views=8, **CIRCLE)).every(step)


def test_every_other_view():
    scan = projections(ConeBeamGeometry.circular(views=8, **CIRCLE)).every(3)
    assert scan.geometry.views == 3
    np.testing.assert_allclose(np.degrees(np.arctan2(scan.geometry.source[1, 1], scan.geometry.source[1, 0])), 135)


def test_weights_travel_with_their_measurement(tmp_path):
    scan = upright(projections(ConeBeamGeometry.circular(views=4, **CIRCLE)))
    weights = (torch.rand(scan.data.shape) > 0.5).float()
    measurement = MeasuredScan(spacing=8.0).place(replace(scan, weights=weights)).measurement
    measurement.save(tmp_path / "scan.npz")
    again = Measurement.load(tmp_path / "scan.npz")
    assert torch.equal(again.weights, weights)
    assert again.noise_level == measurement.noise_level
    level = measurement.weighted.noise_level
    assert level == pytest.approx(measurement.noise_level * float(weights.mean()) ** 0.5)
