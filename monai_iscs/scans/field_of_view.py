# SPDX-License-Identifier: Apache-2.0
"""What a scan sees, and what its rays meet besides."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.operators.circle import off_circle, rotation_axis, seen_arc
from monai_iscs.operators.field import shadow
from monai_iscs.scans.projections import Projections

ATTENUATED = 0.05  # line integral of a ray that met something: 2.5 mm of water
WATER = 0.02  # per mm, near enough to tell how wide a body is
STEEPEST = 10.0  # mm that a body's chord may change by per mm across it: beyond, an edge is no edge of a body
SEEN = 0.95  # of the views that see the best-seen part of the axis: what fewer see is not wanted unless asked for
PART = 64  # views at a time
MANY = 1000  # views, of which some tell as much
HALF_TURN = 180.0  # degrees: with the fan's angle on top, enough to see a point of the axis from all sides


@dataclass(frozen=True)
class FieldOfView:
    """The cylinder that a scan sees, and what lies around it; mm, in the frame of the geometry.

    Attributes:
        axis: (x, y) that the source travels about.
        radius: of the cylinder about the axis that all views, or both sides of a half-fan, see.
        heights: (lowest, highest) z on the axis that are seen as well as any.
        met_radius: of what attenuates the rays: larger than `radius` where the body is wider than the detector.
        met_heights: the z between which rays cross something: beyond `heights`, where the body is longer than the
            detector is high.
    """

    axis: tuple[float, float]
    radius: float
    heights: tuple[float, float]
    met_radius: float
    met_heights: tuple[float, float]


def field_of_view(projections: Projections, *, within: float = math.inf) -> FieldOfView:
    """Find it from where the rays run, and where they are attenuated.

    A body that is wider than the detector is as wide as circles of water that go on as the projections end
    (Hsieh et al. 2004).

    Args:
        projections: with upright detectors.
        within: no attenuation is further from the axis than this, mm.
    """
    scan = projections.geometry
    axis = rotation_axis(scan, (0.0, 0.0, 0.0))
    source = scan.source[:, :2] - axis
    rows, columns = scan.detector_shape
    data = projections.data.cpu()
    ray = (scan.column_places([-columns / 2, columns / 2]) - scan.source[:, None])[..., :2]
    across = ray[..., 0] * source[:, None, 1] - ray[..., 1] * source[:, None, 0]
    away = across / np.linalg.norm(ray, axis=2)  # of the detector's two edges from the axis
    far = np.abs(away).argmax(1)
    radius = float(np.abs(away).max(1).min())
    wider = 0.0
    for edge in (0, 1):
        outer = far == edge if _half_fan(away) else np.ones(scan.views, bool)
        if outer.any():
            pitch = abs(float(np.ptp(away, axis=1)[outer].mean())) / columns
            wider = max(wider, _beyond(data, outer, edge, pitch, radius))
    hit_rows, hit_columns = _hit(data)
    used = np.flatnonzero(hit_rows.any(0))
    first, last = (int(used[0]), int(used[-1])) if len(used) else (0, rows - 1)
    met_radius = radius + wider if wider else _reach(away, hit_columns, radius)
    met_radius = min(met_radius, within)
    heights = _seen_heights(scan, axis)
    met = np.concatenate(
        [_heights(scan, axis, k, near) for k in (first, last + 1) for near in (-met_radius, met_radius)]
    )
    return FieldOfView(
        axis=(float(axis[0]), float(axis[1])),
        radius=radius,
        heights=heights,
        met_radius=met_radius,
        met_heights=(float(met.min()), float(met.max())),
    )


def seen_share(scan: ConeBeamGeometry, grid: Grid) -> torch.Tensor:
    """How much of its views sees each voxel, (X, Y, Z), 0 to 1, as a share of what the best voxel has.

    Only rows count: that a half-fan detector sees a voxel from one side alone takes nothing away.

    Args:
        scan: with upright detectors.
        grid: of the volume, in the same frame.
    """
    scan, grid = scan.along(grid), grid.straight
    x, y, z = (np.asarray(grid.affine)[axis, 3] + np.arange(grid.shape[axis]) * grid.spacing[axis] for axis in range(3))
    rows, columns = scan.detector_shape
    seen, met = np.zeros(grid.shape, np.float32), np.zeros((*grid.shape[:2], 1), np.float32)
    for view, (source, detector, v) in enumerate(zip(scan.source, scan.detector, scan.v, strict=True)):
        across, share = shadow(scan, view, x[:, None], y)
        inside = ((np.abs(across) <= columns / 2) & (share > 0))[..., None]
        row = ((z - source[2]) / share[..., None] - (detector - source)[2]) / v[2]
        met += inside
        seen += inside & (np.abs(row) <= rows / 2)
    share = np.divide(seen, met, out=np.zeros_like(seen), where=met > 0)
    return torch.from_numpy(share / max(share.max(), 1e-9))


def _reach(away: np.ndarray, hit: np.ndarray, radius: float) -> float:
    """How far from the axis the outermost rays pass that are attenuated; `hit` is (views, columns)."""
    columns = hit.shape[1]
    used = np.flatnonzero(hit.any(0))
    if not len(used):
        return radius
    inner, outer = (np.where(hit, np.arange(columns), fill) for fill in (columns, -1))
    ends = np.stack([inner.min(1), outer.max(1) + 1], 1)[hit.any(1)]
    low, high = away[hit.any(1)].T
    return float(min(np.abs(low[:, None] + ends / columns * (high - low)[:, None]).max(), radius))


def _half_fan(away: np.ndarray) -> bool:
    """Whether the detector reaches clearly further from the axis on one side than on the other."""
    low, high = np.abs(away.min(1)).mean(), np.abs(away.max(1)).mean()
    return bool(min(low, high) < 0.9 * max(low, high))


def _hit(data: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Which rows, (views, rows), and columns, (views, columns), have rays that met something, and not only noise."""
    rows, columns = [], []
    for views in data.split(PART):  # all at once would take their memory again
        hit = torch.nn.functional.avg_pool2d(views, 3, 1, 1, count_include_pad=False) > ATTENUATED
        rows.append(hit.any(2))
        columns.append(hit.any(1))
    return torch.cat(rows).numpy(), torch.cat(columns).numpy()


def _beyond(data: torch.Tensor, outer: np.ndarray, edge: int, pitch: float, radius: float) -> float:
    """How far a body goes on beyond an edge of the detector in some views, mm at the axis; 0 where it ends before."""
    strip = max(3, data.shape[2] // 50)
    ends = data[..., -2 * strip :] if edge else data[..., : 2 * strip].flip(2)
    lines = ends.numpy()[outer]
    last, before = lines[..., -strip:].mean(-1), lines[..., -2 * strip : -strip].mean(-1)
    cut = last > ATTENUATED
    if cut.mean() < 0.01:
        return 0.0
    chord = last[cut] / WATER
    slope = np.clip((last - before)[cut] / WATER / (strip * pitch), -STEEPEST, STEEPEST)
    # a circle's chord c at x from its middle: c² / 4 + x² = r², so that x = −c c' / 4
    off = -chord * slope / 4
    return float(min(np.percentile(np.hypot(chord / 2, off) - off, 95), radius))


def _heights(scan: ConeBeamGeometry, axis: np.ndarray, row: float, beyond: float) -> np.ndarray:
    """(views,): z of a row's border (0 the first's lower one) at a distance behind the axis, seen from the source."""
    forward = scan.normals * np.sign(scan.plane_depth)[:, None]
    forward = forward[:, :2] / np.linalg.norm(forward[:, :2], axis=1, keepdims=True)
    depth = ((axis - scan.source[:, :2]) * forward).sum(1) + beyond
    share = depth / ((scan.detector - scan.source)[:, :2] * forward).sum(1)
    climb = scan.detector[:, 2] - scan.source[:, 2] + (row - scan.detector_shape[0] / 2) * scan.v[:, 2]
    return scan.source[:, 2] + share * climb


def ray_heights(scan: ConeBeamGeometry, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest z, (views,), of the rays of each view within a radius about the axis, mm.

    Args:
        scan: with upright detectors.
        radius: of a cylinder that the source stays out of; 0: on the axis.
    """
    axis, rows = rotation_axis(scan, (0.0, 0.0, 0.0)), scan.detector_shape[0]
    ends = np.stack([_heights(scan, axis, row, away) for row in (0, rows) for away in (-radius, radius)])
    return ends.min(0), ends.max(0)


def _seen_heights(scan: ConeBeamGeometry, axis: np.ndarray) -> tuple[float, float]:
    """The part of the axis that is seen well: by as many views as any part, or, from a helix, from all sides."""
    low, high = ray_heights(scan, 0.0)
    z = np.linspace(low.min(), high.max(), 2048)
    seen = (z[:, None] >= low) & (z[:, None] <= high)
    if off_circle(scan, axis) is None:
        well, enough = seen.sum(1), math.inf
    else:
        away = scan.source[:, :2] - axis
        some = slice(None, None, math.ceil(scan.views / MANY))
        angle = np.arctan2(away[some, 1], away[some, 0])
        well, enough = np.array([seen_arc(angle[views]) for views in seen[:, some]]), HALF_TURN + _fan(scan)
    good = z[well >= min(SEEN * well.max(), enough)]
    return float(good[0]), float(good[-1])


def _fan(scan: ConeBeamGeometry) -> float:
    """The fan's angle, degrees; the widest view's."""
    half = scan.detector_shape[1] / 2
    edges = (scan.column_places([-half, half]) - scan.source[:, None])[..., :2]
    cosine = (edges[:, 0] * edges[:, 1]).sum(1) / np.linalg.norm(edges, axis=2).prod(1)
    return math.degrees(math.acos(np.clip(cosine, -1, 1).min()))


def voxels(length: float, spacing: float) -> int:
    """How many voxels reach over a length, at least 1."""
    return max(math.ceil(length / spacing - 1e-6), 1)
