# SPDX-License-Identifier: Apache-2.0
"""What a detector sees of a volume."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from monai_iscs.grid import Grid

if TYPE_CHECKING:
    from monai_iscs.operators.geometry import ConeBeamGeometry


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
    for source, detector, u, v in zip(scan.source, scan.detector, scan.u, scan.v, strict=True):
        axis = np.cross(u, v)  # normal to the detector
        depth = (x - source[0]) * axis[0] + (y - source[1]) * axis[1]
        shrink = depth / ((detector - source) @ axis)  # object to detector scale, 1 at the detector
        away = (detector - source)[:2]
        u_index = ((x - source[0]) / shrink - away[0]) * u[0] + ((y - source[1]) / shrink - away[1]) * u[1]
        inside = np.abs(u_index / (u @ u)) <= columns / 2
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
