# SPDX-License-Identifier: Apache-2.0
"""Joseph's method in plain PyTorch: any device, no compiler."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from monai_iscs.operators.backends.rays import RayTable

CHUNK = 1 << 20  # samples handled at a time: keeps a device busy with temporaries of some 100 MB


class _Chunk(NamedTuple):
    """Some detector columns of one view that step along the same axis: R of them, V rows high, through P planes."""

    columns: torch.Tensor  # (R,)
    rows: slice  # the V rows that meet the volume
    near: torch.Tensor  # (2, R, P) the z-columns on both sides of the crossing, as rows of the list of z-columns
    near_weight: torch.Tensor  # (2, R, P) zero outside the volume
    level: torch.Tensor  # (R, P, V) lower z neighbour, counted from 0 in a z-column with one voxel of padding below
    fraction: torch.Tensor  # (R, P, V) share of the upper neighbour
    length: torch.Tensor  # (R, V) mm per plane


class TorchSeparable:
    """The same discrete operator as `NumbaJoseph`, separated into in-plane and z interpolation.

    Works in float64 for float64 tensors, else in float32. The device decides the order of its sums over voxels: they
    are bit for bit repeatable on the CPU, but on CUDA only if `torch.use_deterministic_algorithms` is set.
    """

    def __init__(self, rays: RayTable) -> None:
        self.rays = rays

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        x = volume.detach().to(_working_type(volume))
        stack = x.reshape(len(x), -1, x.shape[-1])
        y = x.new_zeros(len(x), len(self.rays.axis), *self.rays.detector_shape)
        for view, chunk in self._chunks(x):
            column = sum(
                weight[..., None] * stack[:, near] for near, weight in zip(chunk.near, chunk.near_weight, strict=True)
            )
            column = torch.nn.functional.pad(column, (1, 2))
            lower, upper = (column.gather(-1, _over(level, len(x))) for level in (chunk.level, chunk.level + 1))
            total = torch.lerp(lower, upper, chunk.fraction).sum(2) * chunk.length
            y[:, view, chunk.rows, chunk.columns] = total.transpose(1, 2)
        return y.to(volume.dtype)

    def adjoint(self, projections: torch.Tensor) -> torch.Tensor:
        y = projections.detach().to(_working_type(projections))
        X, Y, Z = self.rays.volume_shape
        stack = y.new_zeros(len(y), X * Y, Z)
        for view, chunk in self._chunks(y):
            values = (y[:, view, chunk.rows, chunk.columns].transpose(1, 2) * chunk.length)[:, :, None]
            column = y.new_zeros(len(y), *chunk.near.shape[1:], Z + 3)
            column.scatter_add_(-1, _over(chunk.level, len(y)), values * (1 - chunk.fraction))
            column.scatter_add_(-1, _over(chunk.level + 1, len(y)), values * chunk.fraction)
            column = column[..., 1 : Z + 1]
            for near, weight in zip(chunk.near, chunk.near_weight, strict=True):
                stack.index_add_(1, near.flatten(), (weight[..., None] * column).flatten(1, 2))
        return stack.reshape(len(y), X, Y, Z).to(projections.dtype)

    def _chunks(self, like: torch.Tensor) -> Iterator[tuple[int, _Chunk]]:
        """All (view, detector column) pairs that meet the volume."""
        X, Y, _ = self.rays.volume_shape
        size = max(1, CHUNK // (max(X, Y) * self.rays.detector_shape[0] * len(like)))
        for view in range(len(self.rays.axis)):
            for axis, (planes, count) in enumerate(((X, Y), (Y, X))):
                at_ends = self.rays.lateral[view] @ np.array([[1, 1], [0, planes - 1]])
                meets = (at_ends.max(1) > -1) & (at_ends.min(1) < count) & (self.rays.axis[view] == axis)
                for columns in np.split(np.nonzero(meets)[0], range(size, int(meets.sum()), size)):
                    if len(columns):
                        yield view, self._chunk(view, axis, columns, like)

    def _chunk(self, view: int, axis: int, columns: np.ndarray, like: torch.Tensor) -> _Chunk:
        rays = self.rays
        X, Y, Z = rays.volume_shape
        planes, count, stride, step = ((X, Y, Y, 1), (Y, X, 1, Y))[axis]

        # positions in float64 on the host (they may be large and cancel), fractions on the device
        def crossing(table: np.ndarray) -> np.ndarray:
            return table[view, columns, :1] + table[view, columns, 1:] * np.arange(planes)

        lateral, s = crossing(rays.lateral), crossing(rays.reach)
        lower = np.floor(np.clip(lateral, -2, count)).astype(np.int64)
        neighbour = np.stack([lower, lower + 1])
        weight = np.stack([lower + 1 - lateral, lateral - lower])
        weight[(neighbour < 0) | (neighbour >= count)] = 0
        near = np.arange(planes) * stride + neighbour.clip(0, count - 1) * step

        def to_device(array: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(array).to(device=like.device, dtype=like.dtype)

        offset, slope = rays.height[view, 0] + s * rays.height[view, 1] + 1, s * rays.height[view, 2]
        ends = np.stack([-offset / slope, (Z + 1 - offset) / slope])
        low, high = np.clip([math.floor(ends.min()), math.ceil(ends.max()) + 1], 0, rays.detector_shape[0])
        row = torch.arange(high - low, device=like.device, dtype=like.dtype)  # counted from the lowest: smaller numbers
        position = to_device(offset + slope * low)[..., None] + to_device(slope)[..., None] * row
        position = position.clamp(0, Z + 1)  # both ends lie in the padding
        level = position.floor()
        climb = rays.path[view, columns, 1:2] + rays.path[view, columns, 2:] * low
        climb = to_device(climb) + to_device(rays.path[view, columns, 2:]) * row
        return _Chunk(
            columns=torch.as_tensor(columns, device=like.device),
            rows=slice(low, high),
            near=torch.as_tensor(near, device=like.device),
            near_weight=to_device(weight),
            level=level.long(),
            fraction=position - level,
            length=(to_device(rays.path[view, columns, :1]) + climb**2).sqrt(),
        )


def _working_type(tensor: torch.Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _over(index: torch.Tensor, batch: int) -> torch.Tensor:
    return index.expand(batch, *index.shape)
