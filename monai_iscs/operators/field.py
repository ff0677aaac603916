# SPDX-License-Identifier: Apache-2.0
"""What a detector sees of a volume."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from monai_iscs.grid import Grid

if TYPE_CHECKING:
    from monai_iscs.operators.geometry import ConeBeamGeometry
    from monai_iscs.operators.vectors import ViewVectors


def shadow(scan: ViewVectors, view: int, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where an upright detector sees vertical lines.

    Args:
        scan: the views.
        view: index of one.
        x: of the lines, mm.
        y: of the lines, mm; broadcast with x.

    Returns:
        The detector's column, counted from its centre and fractional, and the share of the way from the source to
        there at which the line is; 0 or less where it is not in front of the source.
    """
    source, detector, u = scan.source[view, :2], scan.detector[view, :2], scan.u[view, :2]
    dx, dy, pitch = x - source[0], y - source[1], np.hypot(*u)
    with np.errstate(divide="ignore", invalid="ignore"):
        if scan.curved_about is None:
            normal = scan.normals[view, :2]
            share = (dx * normal[0] + dy * normal[1]) / scan.plane_depth[view]
            away = detector - source
            return ((dx / share - away[0]) * u[0] + (dy / share - away[1]) * u[1]) / pitch**2, share
        about = scan.curved_about[view, :2]
        radial, own = detector - about, source - about
        radius = np.hypot(*radial)
        # own + t (dx, dy) crosses the circle: a t² + 2 b t - c = 0
        a, b, c = dx**2 + dy**2, own[0] * dx + own[1] * dy, radius**2 - own @ own
        t = (np.sqrt(b**2 + a * c) - b) / a
        hit = own[0] + t * dx, own[1] + t * dy
        forward, across = hit[0] * radial[0] + hit[1] * radial[1], hit[0] * u[0] + hit[1] * u[1]
        ahead = np.where(dx * radial[0] + dy * radial[1] > 0, 1.0, -1.0)
        return np.arctan2(across / pitch, forward / radius) * radius / pitch, ahead / t


def missed_fraction(scan: ConeBeamGeometry, volume: torch.Tensor, grid: Grid, air: float) -> float:
    """The largest share, over the views, of a volume's mass that projects outside the detector, 0 to 1.

    Args:
        scan: with an upright detector.
        volume: (..., X, Y, Z).
        grid: of the volume, upright.
        air: values below it count as 0.
    """
    mass = volume.detach().as_subclass(torch.Tensor).reshape(-1, *grid.shape)
    mass = torch.where(mass >= air, mass, 0).sum(0, dtype=torch.float32).cpu().numpy()
    below = np.zeros((*grid.shape[:2], grid.shape[2] + 1))  # mass below each voxel's lower face
    np.cumsum(mass, axis=2, dtype=np.float64, out=below[..., 1:])
    if not (total := below[..., -1].sum()) > 0:
        return 0.0
    occupied = np.nonzero(below[..., -1])
    below = below[occupied]
    first = np.asarray(grid.affine)[:3, 3]
    x, y = (first[axis] + index * grid.spacing[axis] for axis, index in zip((0, 1), occupied, strict=True))
    z_first = first[2] - grid.spacing[2] / 2
    rows, columns = scan.detector_shape
    each = np.arange(len(below))
    seen = []
    for view, (source, detector, v) in enumerate(zip(scan.source, scan.detector, scan.v, strict=True)):
        column, shrink = shadow(scan, view, x, y)
        inside = (np.abs(column) <= columns / 2) & (shrink > 0)
        middle, half = detector[2] - source[2], abs(v[2]) * rows / 2
        faces = [
            np.clip((source[2] + shrink * z - z_first) / grid.spacing[2], 0, grid.shape[2])
            for z in (middle - half, middle + half)
        ]
        low, high = (_interpolate(below, each, face) for face in faces)
        seen.append(((high - low) * inside).sum())
    return float(np.clip(1 - min(seen) / total, 0, 1))


def _interpolate(table: np.ndarray, row: np.ndarray, position: np.ndarray) -> np.ndarray:
    index = np.minimum(position.astype(np.int64), table.shape[1] - 2)
    return table[row, index] + (position - index) * (table[row, index + 1] - table[row, index])
