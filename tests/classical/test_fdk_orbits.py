# SPDX-License-Identifier: Apache-2.0
"""FDK of a cylinder with line integrals in closed form, for many orbits of a scanner."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from monai_iscs.classical import fdk
from monai_iscs.classical.redundancy import RayShares, ray_shares
from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector
from monai_iscs.scans import Measurement

RADIUS, SEEN = 95.0, 108.0  # of the cylinder and of what the detector sees, mm
GRID = Grid.centered((64, 64, 3), (4.0, 4.0, 4.0))
EVEN = 2 * np.pi * np.arange(180) / 180
RANDOM = np.random.default_rng(0)
HALF = {"detector_shape": (5, 64), "detector_offset": (0.0, 60.0)}
OTHER_HALF = {"detector_shape": (5, 64), "detector_offset": (0.0, -60.0)}


def arc(degrees: float, views: int = 180) -> np.ndarray:
    return 0.4 + np.radians(degrees) * np.arange(views) / views


ORBITS = {
    "full": (EVEN, {}),
    "the other sense": (-EVEN, {}),
    "angles beyond a turn": (EVEN + 31.0, {}),
    "half fan": (EVEN, HALF),
    "half fan, other side": (EVEN, OTHER_HALF),
    "half fan, little overlap": (EVEN, {"detector_shape": (5, 64), "detector_offset": (0.0, 80.0)}),
    "half fan, the other sense": (-EVEN, HALF),
    "jittered": (EVEN + RANDOM.normal(0, 1e-4, 180), {}),
    "half fan, jittered": (EVEN + RANDOM.normal(0, 1e-4, 180), HALF),
    "half fan, jittered more": (EVEN + RANDOM.normal(0, 5e-3, 180), OTHER_HALF),
    "uneven": (EVEN + 0.6 * np.sin(EVEN), {}),
    "half fan, uneven": (EVEN + 0.6 * np.sin(EVEN), HALF),
    "at random": (np.sort(RANDOM.uniform(0, 2 * np.pi, 360)), {}),
    "golden angle": (np.arange(180) * math.pi * (3 - math.sqrt(5)), {}),
    "first view repeated at the end": (np.append(EVEN[::4], 2 * np.pi), {}),
    "half fan, first view repeated at the end": (np.append(EVEN[::4], 2 * np.pi + 1e-4), HALF),
    "every view twice": (np.repeat(EVEN, 2), {}),
    "one half of the views three times": (np.append(EVEN, np.repeat(EVEN[:90], 2)), {}),
    "two turns": (np.append(EVEN, EVEN + 2 * np.pi), {}),
    "two turns, jittered": (np.append(EVEN, EVEN) + RANDOM.normal(0, 1e-4, 360), HALF),
    "two turns, interleaved": (np.append(EVEN, EVEN + math.pi / 180), HALF),
    "359 degrees": (np.radians(359) * np.arange(180) / 179, {}),
    "half fan, 359 degrees": (np.radians(359) * np.arange(180) / 179, HALF),
    "a missing view": (np.delete(EVEN, 37), {}),
    "half fan, a missing view": (np.delete(EVEN, 37), HALF),
    "five missing views": (np.delete(EVEN, range(37, 42)), {}),
    "short scan": (arc(180 + 18.2), {}),
    "short scan, the other sense": (-arc(180 + 18.2), {}),
    "short scan, jittered": (arc(200) + RANDOM.normal(0, 1e-4, 180), {}),
    "short scan, uneven": (0.4 + np.radians(210) * (np.arange(180) / 180) ** 1.5, {}),
    "short scan, ends measured twice": (np.append(arc(200), (arc(200)[0], arc(200)[-1])), {}),
    "short scan, all views twice": (np.repeat(arc(200), 2), {}),
    "short scan, detector off the middle": (arc(205), {"detector_offset": (0.0, 9.0)}),
    "240 degrees": (arc(240), {}),
    "270 degrees": (arc(270), {}),
    "340 degrees": (arc(340), {}),
}


def scan(angles: np.ndarray = EVEN, **changes) -> ConeBeamGeometry:
    scanner = {"detector_shape": (5, 96), "detector_pitch": (4.0, 4.0), **changes}
    return ConeBeamGeometry.circular(angles=angles, source_to_isocenter=700.0, source_to_detector=1200.0, **scanner)


def shares_of(geometry: ConeBeamGeometry) -> RayShares:
    return ray_shares(geometry, np.zeros(2))


def line_integrals(geometry: ConeBeamGeometry, center: tuple[float, float] = (0.0, 0.0)) -> torch.Tensor:
    """Of an endless cylinder of 1 along z."""
    vectors = (geometry.source, geometry.detector, geometry.u, geometry.v)
    source, detector, u, v = (vector[:, None, None] for vector in vectors)
    row, column = (np.arange(n) - (n - 1) / 2 for n in geometry.detector_shape)
    ray = detector + row[:, None, None] * v + column[:, None] * u - source
    start = source[..., :2] - center
    a, b, c = (ray[..., :2] ** 2).sum(-1), (ray[..., :2] * start).sum(-1), (start**2).sum(-1) - RADIUS**2
    chord = 2 * np.sqrt(np.maximum(b**2 - a * c, 0)) / a * np.linalg.norm(ray, axis=-1)
    return torch.from_numpy(chord.astype(np.float32))


def check(geometry: ConeBeamGeometry, *, center: tuple[float, float] = (0.0, 0.0)) -> None:
    """1 at every radius inside and 0 outside, and the same in all directions."""
    A = ConeBeamProjector(geometry, GRID)
    image = fdk(Measurement(line_integrals(geometry, center)[None], A))[0, :, :, 1].numpy()
    x, y = np.meshgrid(*(4.0 * (np.arange(64) - 31.5) for _ in range(2)), indexing="ij")
    radius, direction = np.hypot(x - center[0], y - center[1]), np.arctan2(y - center[1], x - center[0])
    for inner in range(0, 80, 10):
        ring = (radius >= inner) & (radius < inner + 10)
        assert image[ring].mean() == pytest.approx(1, abs=0.02), inner
        for begin in np.arange(-4, 4) * math.pi / 4 if inner >= 20 else ():
            sector = ring & (direction >= begin) & (direction < begin + math.pi / 4)
            assert image[sector].mean() == pytest.approx(1, abs=0.02), (inner, begin)
    assert image[(radius > RADIUS + 6) & (np.hypot(x, y) < SEEN)].mean() == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize(("angles", "changes"), ORBITS.values(), ids=ORBITS.keys())
def test_a_cylinder_is_one_at_every_radius(angles, changes):
    check(scan(angles, **changes))


def askew(geometry: ConeBeamGeometry, *, swivel: float = 0.0, aside: float = 0.0) -> ConeBeamGeometry:
    """Each detector rotated about its upright axis and each source moved along u, by at most these radians and mm."""
    random = np.random.default_rng(1)
    u, v = geometry.u, geometry.v
    pitch_v, pitch_u = (np.linalg.norm(step[0]) for step in (v, u))
    turn, shift = (random.uniform(-limit, limit, (len(u), 1)) for limit in (swivel, aside))
    turned = np.cos(turn) * u + np.sin(turn) * np.cross(u, v) / pitch_v
    return replace(geometry, source=geometry.source + shift * u / pitch_u, u=turned)


@pytest.mark.parametrize("changes", [{}, HALF, {"angles": arc(205)}], ids=["full", "half fan", "short"])
def test_sources_and_detectors_that_stand_askew(changes):
    """The detector's normal is u × v, for any direction to the source."""
    check(askew(scan(**changes), swivel=0.1))
    check(askew(scan(**changes), aside=6.0))


def test_half_fan_off_the_middle():
    check(scan(**HALF), center=(8.0, -6.0))


@pytest.mark.parametrize("changes", [{}, HALF, OTHER_HALF], ids=["full", "half fan", "half fan, other side"])
def test_each_line_counts_once(changes):
    """A column and its mirror column on the other side of the axis share a line; the detector is padded on one side."""
    shares = shares_of(scan(**changes))
    side = changes.get("detector_offset", (0.0, 0.0))[1]
    assert (shares.before, shares.after) == pytest.approx((max(side / 2, 0), max(-side / 2, 0)), abs=1)
    share = np.pad(shares.angles[17] / np.radians(2), (round(max(side / 2, 0)), round(max(-side / 2, 0))))
    assert share + share[::-1] == pytest.approx(np.ones(len(share)))


def test_a_limited_angle_is_not_tapered():
    """No line of 100° and a narrow fan is measured twice: each view counts with its own step."""
    for angles in (arc(100, 100), -arc(100, 100)):
        shares = shares_of(scan(angles))
        assert shares.angles == pytest.approx(np.full((100, 96), np.radians(1)))
        assert (shares.before, shares.after) == (0, 0)


def test_an_even_circle_is_divided_evenly():
    shares = shares_of(scan(EVEN[::6]))
    assert shares.angles == pytest.approx(np.full((30, 96), np.radians(6)), rel=1e-12)


def test_views_at_one_angle_share_it():
    angles = np.append(EVEN[::6], np.repeat(EVEN[6], 2) + 1e-5)
    shares = shares_of(scan(angles)).angles[:, 0]
    assert shares[[1, 30, 31]] == pytest.approx(np.full(3, np.radians(2)), rel=1e-3)
    assert np.delete(shares, [1, 30, 31]) == pytest.approx(np.full(29, np.radians(6)), rel=1e-3)


def test_a_tilted_detector_is_refused():
    tilted = scan()
    tilted = replace(tilted, u=tilted.u + 0.01 * tilted.v, v=tilted.v - 0.01 * tilted.u)
    with pytest.raises(InputError, match="detector that is tilted"):
        ConeBeamProjector(tilted, GRID)
    with pytest.raises(InputError, match="detector that is tilted"):
        fdk(Measurement(torch.zeros(1, *tilted.projection_shape), ConeBeamProjector(tilted, GRID, backend="diffct")))
