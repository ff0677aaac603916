# SPDX-License-Identifier: Apache-2.0
"""Ellipsoids whose cone-beam projections are known in closed form, and a brute-force projector to compare with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid of constant value, rotated about z.

    Attributes:
        center: mm.
        semi_axes: mm.
        turn: radians, counter-clockwise seen from +z.
        value: added to the voxels inside.
    """

    center: tuple[float, float, float]
    semi_axes: tuple[float, float, float]
    turn: float = 0.0
    value: float = 1.0

    def to_unit_sphere(self, vectors: np.ndarray) -> np.ndarray:
        """The linear map to the unit sphere, without the shift, applied to vectors (..., 3)."""
        c, s = np.cos(self.turn), np.sin(self.turn)
        return vectors @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) / self.semi_axes


def voxelise(ellipsoids: list[Ellipsoid], grid: Grid, *, oversampling: int = 4) -> torch.Tensor:
    """The mean of oversampling³ points in each voxel of an upright grid, (X, Y, Z) float32."""
    inner = (np.arange(oversampling) + 0.5) / oversampling - 0.5
    fine = [
        (grid.affine[axis][3] + spacing * (np.arange(grid.shape[axis])[:, None] + inner)).ravel()
        for axis, spacing in enumerate(grid.spacing)
    ]
    out = np.zeros(grid.shape)
    shape = (grid.shape[1], oversampling, grid.shape[2], oversampling)
    for x_index, x in enumerate(fine[0]):
        points = np.stack(np.meshgrid([x], fine[1], fine[2], indexing="ij"), -1)[0]
        for e in ellipsoids:
            inside = (e.to_unit_sphere(points - np.asarray(e.center)) ** 2).sum(-1) < 1
            out[x_index // oversampling] += e.value * inside.reshape(shape).mean((1, 3)) / oversampling
    return torch.from_numpy(out.astype(np.float32))


def rays(geometry: ConeBeamGeometry) -> tuple[np.ndarray, np.ndarray]:
    """Sources (view, 1, 1, 3) and unit directions (view, v, u, 3) to the pixel centres."""
    row, column = (np.arange(n) - (n - 1) / 2 for n in geometry.detector_shape)
    source = geometry.source[:, None, None]
    places = geometry.column_places(column)[:, None]
    direction = places + row[:, None, None] * geometry.v[:, None, None] - source
    return source, direction / np.linalg.norm(direction, axis=-1, keepdims=True)


def line_integrals(ellipsoids: list[Ellipsoid], geometry: ConeBeamGeometry) -> torch.Tensor:
    """The exact projections (view, v, u), float32: chord lengths times values."""
    source, direction = rays(geometry)
    total = np.zeros(direction.shape[:-1])
    for e in ellipsoids:
        start, step = e.to_unit_sphere(source - np.asarray(e.center)), e.to_unit_sphere(direction)
        a, b, c = (step**2).sum(-1), (start * step).sum(-1), (start**2).sum(-1) - 1
        total += e.value * 2 * np.sqrt(np.maximum(b**2 - a * c, 0)) / a
    return torch.from_numpy(total.astype(np.float32))


def sample_rays(volume: torch.Tensor, geometry: ConeBeamGeometry, grid: Grid, *, step: float) -> torch.Tensor:
    """The sum of trilinear samples along each ray, every `step` mm: slow and simple; Joseph's method approximates it.

    Its error against `line_integrals` comes from the voxels alone: the lower limit for any point-ray projector.
    """
    source, direction = (torch.from_numpy(array.astype(np.float32)) for array in rays(geometry))
    extent = torch.tensor(grid.shape) * torch.tensor(grid.spacing)
    center = torch.tensor(grid.center)
    reach = float(extent.norm()) / 2
    out = torch.zeros(direction.shape[:-1])
    for view in range(len(out)):
        distance = float((center - source[view, 0, 0]).norm()) + torch.arange(-reach, reach, step)
        for row in range(out.shape[1]):
            points = source[view, 0] + distance[:, None, None] * direction[view, row]
            where = (2 * (points - center) / extent).flip(-1)[None, None]
            sampled = torch.nn.functional.grid_sample(volume[None, None], where, align_corners=False)
            out[view, row] = sampled.sum((0, 1, 2, 3)) * step
    return out
