# SPDX-License-Identifier: Apache-2.0
"""Joseph's method on the GPU, compiled by Triton."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import triton

from monai_iscs.errors import InputError
from monai_iscs.operators.backends import triton_kernels as kernels
from monai_iscs.operators.backends.rays import RayTable

# Elements of a tile: the interpreter works on one tile after another, and is faster with larger ones.
WARPS = 4 if not triton.knobs.runtime.interpret else 32
COLUMNS = 4 if not triton.knobs.runtime.interpret else 32
LANES = kernels.LANES.value
MAX_UNROLLED = 8


class _Tables(NamedTuple):
    """A `RayTable` on a device, and what the adjoint derives from it."""

    axis: torch.Tensor
    lateral: torch.Tensor
    reach: torch.Tensor
    height: torch.Tensor
    path: torch.Tensor
    shadow: torch.Tensor  # (views, 2, 3) float32
    segment: torch.Tensor  # (views, 2, 2) int32: for each axis, the first column that steps along it, one past the last
    advance: torch.Tensor  # (views, u) voxels from source to detector along the ray's axis
    growth: torch.Tensor  # (views, X + Y) detector rows per voxel of height at a plane, divided by `advance`
    level: torch.Tensor  # (views, 3): z index of the source + 1, minus its row + MAGIC, two voxels in detector rows
    nearest: torch.Tensor  # (views, entries) int32, of a curved detector: the first column at each one of the flat one
    shown: torch.Tensor  # (views, 2) float32: the flat detector's column of the first entry; columns in one, at most


class TritonJoseph:
    """Joseph's projector and its exact transpose on CUDA tensors, in float32, deterministic: without atomics.

    The same discrete operator as `NumbaJoseph`. The host never waits for the device, except for the upload of the
    tables at the first use. Memory beyond input and output: one copy of the projections.

    Its cost at the paper's size (256 x 256 x 300 voxels of 1.5 mm, 30 views, 512 x 512 pixels of 2 mm), counted in
    the machine code for an H100 or H200 (132 processors, 528 warp instructions per cycle, 1.755 GHz), not measured:

    - forward: 9.65e8 samples, each 4 loads and 7 multiply-adds, 39 instructions in all: 1.3 ms;
    - adjoint: 8.9e8 visits of a detector column to a slice of 4 z-columns, each 3 to 4 loads and about 54 instructions:
      1.6 ms;
    - idle lanes (rows outside the volume, the last tile's end of z, columns that just miss a tile) come on top: about a
      quarter;
    - memory: the volume (79 MB) once a view at worst, 2.4 GB or 0.5 ms at 4.8 TB/s; the projections (31 MB) fit into
      the 50 MB cache.

    So the floor of a pair is 2.9 ms, set by the instructions issued, not by memory.
    """

    def __init__(self, rays: RayTable) -> None:
        v = rays.geometry.v
        self._falling = torch.from_numpy(v[:, 2] < 0)
        if self._falling.any():  # the adjoint walks up the detector's rows
            rising = np.where(v[:, 2:] < 0, -v, v)
            rays = RayTable.of(replace(rays.geometry, v=rising), rays.grid)
        self.rays = rays
        X, Y, Z = rays.volume_shape
        h0, h1, h2 = rays.height.T
        corners = np.array([[1, x, y] for x in (-1, X) for y in (-1, Y)])  # rays touch voxels from one voxel away
        depth = (rays.shadow[:, 1] @ corners.T).min(1)
        if depth.min() <= 0:
            raise InputError(
                "grid: found a volume less than a voxel from the source, expected more for backend 'triton'"
            )
        rows_per_voxel = 1 / (depth * h2)
        row = [(z - h0) * rows_per_voxel - h1 / h2 for z in (-1, Z + 4 * LANES)]
        if np.abs(row).max() >= 2**19 or rows_per_voxel.max() >= 2**12:
            raise InputError(
                f"grid: found a volume {np.ptp(row):.0f} detector rows high, up to {rows_per_voxel.max():.0f} a voxel, "
                f"expected less than {2**19} and {2**12} for backend 'triton'"
            )
        source = np.linalg.solve(rays.shadow[:, :, 1:], -rays.shadow[:, :, :1])[..., 0]
        gap = np.concatenate([np.arange(n) - source[:, axis, None] for axis, n in enumerate((X, Y))], 1)
        self._tables = _Tables(
            *(rays.axis, rays.lateral, rays.reach, rays.height, rays.path),
            shadow=rays.shadow.astype(np.float32),
            segment=np.stack([_span(rays.axis == axis) for axis in range(2)], 1),
            advance=1 / rays.reach[..., 1],
            growth=1 / (np.where(gap == 0, 1, gap) * h2[:, None]),
            level=np.stack([h0 + 1, kernels.MAGIC.value - h1 / h2, 2 / h2], 1),
            **_flat_index(rays),
        )
        # The rows that touch a voxel in the volume's middle are unrolled; voxels nearer to the source loop for more.
        middle = rays.shadow[:, 1] @ [1, (X - 1) / 2, (Y - 1) / 2]
        self._taps = min(math.ceil((2 / (middle * h2)).max()), MAX_UNROLLED)
        self._padding = math.ceil(2 * rows_per_voxel.max()) + 2
        self._uploaded: dict[torch.device, _Tables] = {}

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        x = volume.detach().to(torch.float32).contiguous()
        views, columns = self.rays.axis.shape
        rows = self.rays.detector_shape[0]
        y = x.new_empty(len(x), views, columns, rows)
        tables = self._on(x.device)
        layers = _layers(rows)
        grid = (views * triton.cdiv(columns, WARPS) * triton.cdiv(rows, LANES * layers),)
        with torch.cuda.device_of(x):
            for item, out in zip(x, y, strict=True):
                kernels.project[grid](
                    item, out, *tables[:5], *item.shape, rows, columns, LAYERS=layers, WARPS=WARPS, num_warps=WARPS
                )
        return self._rising(y.transpose(2, 3).contiguous()).to(volume.dtype)

    def adjoint(self, projections: torch.Tensor) -> torch.Tensor:
        y = self._rising(projections.detach().to(torch.float32).contiguous())
        views, rows, columns = y.shape[1:]
        X, Y, Z = self.rays.volume_shape
        x = y.new_empty(len(y), X, Y, Z)
        tables = self._on(y.device)
        values = y.new_zeros(self._padding + views * columns * (rows + self._padding))[self._padding :]
        layers = _layers(Z)
        with torch.cuda.device_of(y):
            for item, out in zip(y, x, strict=True):
                grid = (views * triton.cdiv(rows, 32) * triton.cdiv(columns, 32),)
                kernels.weigh[grid](item, values, tables.path, rows, columns, self._padding, SIDE=32)
                for axis, (planes, count) in enumerate(((X, Y), (Y, X))):
                    grid = (triton.cdiv(planes, WARPS) * triton.cdiv(count, COLUMNS) * triton.cdiv(Z, LANES * layers),)
                    kernels.backproject[grid](
                        values,
                        out,
                        tables.axis,
                        tables.lateral,
                        *tables[5:],
                        *(X, Y, Z, views, rows, columns, self._padding, tables.nearest.shape[1]),
                        AXIS=axis,
                        COLUMNS=COLUMNS,
                        LAYERS=layers,
                        WARPS=WARPS,
                        TAPS=self._taps,
                        CURVED=self.rays.geometry.is_curved,
                        num_warps=WARPS,
                    )
        return x.to(projections.dtype)

    def _rising(self, y: torch.Tensor) -> torch.Tensor:
        """Projections (N, view, v, u) with the rows of the views whose v falls in the reverse order."""
        if not self._falling.any():
            return y
        return torch.where(self._falling.to(y.device)[:, None, None], y.flip(2), y)

    def _on(self, device: torch.device) -> _Tables:
        if device not in self._uploaded:
            self._uploaded[device] = _Tables(
                *(torch.from_numpy(np.ascontiguousarray(table)).to(device) for table in self._tables)
            )
        return self._uploaded[device]


def _flat_index(rays: RayTable) -> dict[str, np.ndarray]:
    """`nearest` and `shown` of `_Tables`."""
    scan = rays.geometry
    columns = scan.detector_shape[1]
    if not scan.is_curved:
        return {"nearest": np.zeros((scan.views, 1), np.int32), "shown": np.zeros((scan.views, 2), np.float32)}
    first, spacing = np.asarray(rays.grid.affine)[:2, 3], rays.grid.spacing[:2]
    places = (scan.column_places(np.arange(columns) - (columns - 1) / 2)[..., :2] - first) / spacing
    column, depth = np.einsum("vij,vcj->ivc", rays.shadow, np.concatenate([np.ones_like(places[..., :1]), places], 2))
    flat = column / depth
    entries = np.arange(math.ceil(np.ptp(flat, axis=1).max()) + 2)
    nearest = [np.searchsorted(view, view[0] + entries) for view in flat]
    most = 1 / np.diff(flat, axis=1).min(1) if columns > 1 else np.ones(scan.views)
    return {"nearest": np.array(nearest, np.int32), "shown": np.stack([flat[:, 0], most], 1).astype(np.float32)}


def _span(mask: np.ndarray) -> np.ndarray:
    """The first true index along the last axis and one past the last true one, or twice 0."""
    size = mask.shape[1]
    return np.stack([mask.argmax(1), size - mask[:, ::-1].argmax(1)], 1).astype(np.int32) * mask.any(1)[:, None]


def _layers(size: int) -> int:
    """Elements per thread along a dimension: trades shared work per element against elements beyond the end."""
    return min((4, 2, 1), key=lambda layers: triton.cdiv(size, LANES * layers) * (layers + 1))
