# SPDX-License-Identifier: Apache-2.0
"""Filtered backprojection of helices, on the detector as it is: flat, or curved about the source."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numba import prange

from monai_iscs.classical.row_filter import check_hann, columns_beyond, filter_rows
from monai_iscs.classical.unscaled import unscaled
from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector
from monai_iscs.operators.backends.compiled import compiled
from monai_iscs.operators.backends.numba_joseph import ABOVE, BELOW, blend, neighbours, sample, span
from monai_iscs.operators.circle import check_helix, rotation_axis
from monai_iscs.operators.field import shadow
from monai_iscs.scans import Measurement

FULL = 0.5  # of the detector's half height: rows up to there count in full
FAINT = 1e-3  # weight of the outermost rows, and of those that go on beyond them: of use where no other ray is
SECTORS = 128  # of a turn, at most
ALIGNED = 1e-3  # of a sector: a view so close to a sector's middle belongs to it alone
SLAB = 8  # lines of voxels along y whose shadows are in memory at a time


def helical_fbp(measurement: Measurement, *, hann: float | None = 0.7) -> torch.Tensor:
    """Reconstruct a helix of any pitch up to two, or a full circle, in the units of the operator's domain.

    Each view is filtered and backprojected along its own rays, as in FDK, with nothing resampled (Wang, Lin, Cheng and
    Shinozaki 1993): sources may fly, and few views a turn stay as sharp as they are. With γ the angle of a column's ray
    in the plane across the axis, S the source and d a ray's direction, what is summed over the source's angles is

        1 / (2 L²) · Σ |S · d'| p(γ') h(sin(γ − γ')) |dγ'|,

    L being the voxel's distance from the source in that plane and h the ramp's kernel (Kak and Slaney 1988, §3.4). On a
    flat detector the sine of two columns' angle is n √(δ δ'), δ being a column's step in γ and n their distance in
    columns; on a curved one it is that times sin(n δ) / (n δ). The factor at each n is taken from the columns on both
    sides of the middle one.

    A voxel is seen in several turns at each angle of the source. Its rays there have weights that fall smoothly towards
    the detector's first and last row, and add up to 1 (Stierstorfer et al. 2004), by sectors of a turn between which
    they are interpolated. Where no view at an angle sees it, the outermost row goes on, by half of the rows.

    Where the body is wider than the detector, its rows are continued as in `fdk`. Computed on the CPU.

    Args:
        measurement: (C, view, v, u) of a `ConeBeamProjector`, also of a scaled one.
        hann: cut-off of a Hann window on the ramp as a fraction of the Nyquist frequency, in (0, 1]; None = no window.

    Returns:
        (C, X, Y, Z) on the measurement's device, computed in float32.

    Raises:
        InputError: another operator, `hann` out of range, a tilted detector, one that is far off the axis (half-fan),
            or what `check_helix` refuses.
    """
    check_hann(hann)
    data, projector = unscaled(measurement)
    if not isinstance(projector, ConeBeamProjector):
        raise InputError(f"helical_fbp: found a measurement of {projector.name}, expected one of ConeBeamProjector")
    scan, grid = projector.geometry.along(projector.grid), projector.grid.straight
    scan.check_upright()
    check_helix(scan, grid.center)
    away = scan.source[:, :2] - rotation_axis(scan, grid.center)
    y = data.detach().to("cpu", torch.float32)
    x = torch.stack([_reconstructed(item, scan, grid, away, hann) for item in y])
    return x.to(data)


def _reconstructed(
    y: torch.Tensor, scan: ConeBeamGeometry, grid: Grid, away: np.ndarray, hann: float | None
) -> torch.Tensor:
    """One channel; `away` is (views, 2), from the axis to the sources."""
    beyond = columns_beyond(y)
    steps, bent = _fan(scan, y.shape[2] + 2 * beyond)
    filtered = filter_rows(y, _weights(scan, away), hann, beyond, bent=torch.from_numpy(bent))
    filtered /= torch.from_numpy(steps).to(y)[:, None]
    return torch.from_numpy(_backprojected(filtered.numpy(), scan, grid, away, beyond))


def _fan(scan: ConeBeamGeometry, wide: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each view, (views, wide): each column's step δ in γ, and by how much h(sin(γ − γ')) exceeds h(n √(δ δ'))."""
    ray = (scan.column_places(np.arange(-wide, wide + 1) / 2) - scan.source[:, None])[..., :2]
    gamma = np.unwrap(np.arctan2(ray[..., 1], ray[..., 0]))
    step = np.abs(gamma[:, 2:] - gamma[:, :-2])
    n = np.arange(1, wide)
    sine = np.sin(np.abs(gamma[:, wide + n] - gamma[:, wide - n]))
    bent = np.ones((scan.views, wide))
    bent[:, 1:] = n**2 * step[:, wide - 1 + n] * step[:, wide - 1 - n] / sine**2
    return step[:, ::2], bent


def _weights(scan: ConeBeamGeometry, away: np.ndarray) -> Iterator[torch.Tensor]:
    """|S · d| of the pixels (v, u) of each view."""
    rows, columns = scan.detector_shape
    row = np.arange(rows) - (rows - 1) / 2
    places = scan.column_places(np.arange(columns) - (columns - 1) / 2)
    for source, out, detector, v, place in zip(scan.source, away, scan.detector, scan.v, places, strict=True):
        ray = (place - source)[:, :2]
        climb = detector[2] - source[2] + row[:, None] * v[2]
        yield torch.from_numpy(np.abs(ray @ out) / np.sqrt((ray**2).sum(1) + climb**2))


def _row_weights(rows: int, beyond: int) -> np.ndarray:
    """Of the detector's rows, and of some that go on beyond them, (beyond + rows + beyond,)."""
    height = np.abs(np.arange(-beyond, rows + beyond) - (rows - 1) / 2)
    fall = np.clip((1 - height / (rows / 2)) / (1 - FULL), 0, 1)
    faint = FAINT / (1 + np.maximum(height - (rows - 1) / 2, 0)) ** 2
    return np.maximum(np.sin(math.pi / 2 * fall) ** 2, faint).astype(np.float32)


def _backprojected(y: np.ndarray, scan: ConeBeamGeometry, grid: Grid, away: np.ndarray, beyond: int) -> np.ndarray:
    """Filtered rows (view, v, beyond + u + beyond) to (X, Y, Z)."""
    rows, columns = scan.detector_shape
    more = -(-rows // 2)
    weights = _row_weights(rows, more)
    y = np.pad(y, ((0, 0), (more, more), (0, 0)), mode="edge").transpose(0, 2, 1)
    y = np.ascontiguousarray(y * weights)
    angles = np.unwrap(np.arctan2(away[:, 1], away[:, 0]))
    arcs = np.abs(np.gradient(angles))
    sectors = min(int(2 * math.pi / np.median(arcs) + ALIGNED), SECTORS)
    places = (angles - angles[0]) / (2 * math.pi) * sectors
    along_x, along_y, along_z = (
        np.asarray(grid.affine)[axis, 3] + np.arange(count) * grid.spacing[axis]
        for axis, count in enumerate(grid.shape)
    )
    middle = (columns - 1) / 2 + beyond, (rows - 1) / 2 + more
    out = np.zeros(grid.shape, np.float32)
    for first in range(0, len(along_x), SLAB):
        lines = along_x[first : first + SLAB, None]
        table = np.empty((scan.views, 4, len(lines), len(along_y)))
        for view, (source, detector, v) in enumerate(zip(scan.source, scan.detector, scan.v, strict=True)):
            column, share = shadow(scan, view, lines, along_y)
            row = ((along_z[0] - source[2]) / share - (detector - source)[2]) / v[2]
            near = 1 / ((lines - source[0]) ** 2 + (along_y - source[1]) ** 2)
            table[view] = column + middle[0], row + middle[1], grid.spacing[2] / (share * v[2]), near
        table = np.ascontiguousarray(table.reshape(*table.shape[:2], -1).transpose(2, 0, 1))
        part = out[first : first + SLAB].reshape(-1, len(along_z))  # a view: it is written into
        _lines(y, weights, table, places, arcs, sectors, part)
    return out


@compiled()
def _lines(y, weights, table, places, arcs, sectors, out):
    """Voxels above each other share columns and nearness: `table` is (line, view, 4), y (view, u, v) with weights."""
    views, columns, rows = y.shape
    depth = out.shape[1]
    for line in prange(out.shape[0]):
        blended, weighing = np.zeros((2, BELOW + rows + ABOVE), np.float32)
        total, weight = np.zeros((2, sectors, depth), np.float32)
        for view in range(views):
            column, offset, slope, near = table[line, view]
            if not -1.0 < column < columns:
                continue
            low, high = span(offset, slope, rows, 0, depth)
            a, b, weight_a, weight_b = neighbours(column, columns)
            sector = math.floor(places[view])
            part = places[view] - sector
            for one, share in ((sector, 1.0 - part), (sector + 1, part)):
                if share < ALIGNED:
                    continue
                arc, value = np.float32(share * arcs[view]), np.float32(share * arcs[view] * near)
                blend(y[view, a], y[view, b], value * weight_a, value * weight_b, blended)
                sample(blended, offset, slope, low, high, total[one % sectors])
                blend(weights, weights, arc, np.float32(0.0), weighing)
                sample(weighing, offset, slope, low, high, weight[one % sectors])
        for sector in range(sectors):
            for k in range(depth):
                if weight[sector, k] > 0:  # half of a turn: each line is measured from both sides
                    out[line, k] += total[sector, k] / weight[sector, k] * np.float32(math.pi / sectors)
