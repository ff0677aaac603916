# SPDX-License-Identifier: Apache-2.0
"""Joseph's method on the CPU, compiled by numba."""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import njit, prange

from monai_iscs.operators.backends.compiled import compiled
from monai_iscs.operators.backends.rays import RayTable

# All of fast-math except the assumption that there is no NaN or infinity: bad values must stay visible.
FAST = {"reassoc", "contract", "arcp", "nsz"}
FIXED_BITS = 32
FIXED_ONE, FIXED_MASK, FIXED_UNIT = 2.0**FIXED_BITS, 2**FIXED_BITS - 1, np.float32(2.0**-FIXED_BITS)
# Planes and detector columns that one thread works on at a time: they stay in its cache.
SLAB, BLOCK = 8, 64
# Zeros around a z-column: `span` accepts positions up to a voxel outside (and rounding), which are read together with
# their upper neighbours.
BELOW, ABOVE = 2, 2


class NumbaJoseph:
    """Joseph's projector and its exact transpose on CPU tensors, in float32, parallel and deterministic.

    Memory beyond input and output: one copy of the projections (adjoint).
    """

    def __init__(self, rays: RayTable) -> None:
        self.rays = rays
        self._table = (rays.axis, rays.lateral, rays.reach, rays.height, rays.path)

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        x = volume.detach().to(torch.float32).contiguous().numpy()
        y = np.empty((len(x), len(self.rays.axis), *self.rays.detector_shape), np.float32)
        for item, out in zip(x, y, strict=True):
            _project(item, *self._table, out)
        return torch.from_numpy(y).to(volume.dtype)

    def adjoint(self, projections: torch.Tensor) -> torch.Tensor:
        y = projections.detach().to(torch.float32).contiguous().numpy()
        x = np.zeros((len(y), *self.rays.volume_shape), np.float32)
        for item, out in zip(y, x, strict=True):
            _backproject(item, *self._table, out)
        return torch.from_numpy(x).to(projections.dtype)


@njit(inline="always")
def span(offset, slope, count, first, last):
    """The integers k in [first, last) with -1 < offset + slope * k < count, as a range (low, high).

    A k whose position equals a border up to rounding may be among them.
    """
    if slope == 0.0:
        return first, (last if -1.0 < offset < count else first)
    a, b = (-1.0 - offset) / slope, (count - offset) / slope
    # clipped before rounding: a nearly parallel trace meets the border farther away than an integer holds
    low, high = min(max(min(a, b), first), last), max(min(max(a, b), last - 1.0), first - 1.0)
    return math.ceil(low), math.floor(high) + 1


@njit(inline="always")
def neighbours(position, count):
    """The two indices around a position and their weights; a neighbour outside [0, count) weighs nothing."""
    lower = math.floor(position)
    w = np.float32(position - lower)
    return (
        min(max(lower, 0), count - 1),
        min(max(lower + 1, 0), count - 1),
        np.float32(1.0) - w if 0 <= lower < count else np.float32(0.0),
        w if 0 <= lower + 1 < count else np.float32(0.0),
    )


@njit(inline="always", fastmath=FAST)
def blend(a, b, weight_a, weight_b, out):
    """out = weight_a * a + weight_b * b, inside the padding of out: interpolates between two columns."""
    for z in range(a.shape[0]):
        out[z + BELOW] = weight_a * a[z] + weight_b * b[z]


@njit(inline="always", fastmath=FAST)
def sample(column, offset, slope, low, high, out):
    """out[k] += the column at offset + slope * k, linearly interpolated, for k in [low, high) as `span` gives them.

    The column is padded. The position is in fixed point, 32 bits after the point: index and fraction are then a shift
    and a mask, a third faster than conversions from floating point and more exact than float32.
    """
    position, stride = np.int64((offset + slope * low + BELOW) * FIXED_ONE), np.int64(slope * FIXED_ONE)
    for k in range(low, high):
        index = np.uint64(position >> FIXED_BITS)  # unsigned: spares the test for negative indices
        fraction = np.float32(position & FIXED_MASK) * FIXED_UNIT
        out[k] += column[index] + fraction * (column[index + np.uint64(1)] - column[index])
        position += stride


@njit(inline="always", fastmath=FAST)
def spread(values, offset, slope, low, high, column):
    """The transpose of `sample`: values[k] is shared between the two elements around offset + slope * k."""
    position, stride = np.int64((offset + slope * low + BELOW) * FIXED_ONE), np.int64(slope * FIXED_ONE)
    for k in range(low, high):
        index = np.uint64(position >> FIXED_BITS)
        upper = np.float32(position & FIXED_MASK) * FIXED_UNIT * values[k]
        column[index] += values[k] - upper
        column[index + np.uint64(1)] += upper
        position += stride


@njit(inline="always")
def layout(axis, shape):
    """Planes along an axis, columns in a plane, and both strides in the list of z-columns."""
    return (shape[0], shape[1], shape[1], 1) if axis == 0 else (shape[1], shape[0], 1, shape[1])


@njit(inline="always")
def crossing(reach, height, plane, depth, first, last):
    """The trace of a detector column's rays on a plane, offset and slope, and its rows of [first, last) inside."""
    s = reach[0] + reach[1] * plane
    offset, slope = height[0] + s * height[1], s * height[2]
    low, high = span(offset, slope, depth, first, last)
    return offset, slope, low, high


@njit
def seen_rows(axis, lateral, reach, height, shape, rows):
    """Detector rows (low, high) beyond which no ray meets the volume.

    Along a column's planes the row where its rays leave the volume, above or below, changes monotonically: the rows at
    its first and last plane bound those between, whether or not they are on the detector.
    """
    lowest, highest = np.inf, -np.inf
    for view in range(axis.shape[0]):
        for u in range(axis.shape[1]):
            planes, count, _, _ = layout(axis[view, u], shape)
            first, last = span(lateral[view, u, 0], lateral[view, u, 1], count, 0, planes)
            if first < last:
                for plane in (first, last - 1):
                    s = reach[view, u, 0] + reach[view, u, 1] * plane
                    offset, slope = height[view, 0] + s * height[view, 1], s * height[view, 2]
                    if slope == 0.0:
                        return 0, rows
                    a, b = (-1.0 - offset) / slope, (shape[2] - offset) / slope
                    lowest, highest = min(lowest, a, b), max(highest, a, b)
    low = math.floor(min(max(lowest - 1.0, 0.0), rows))  # clipped before rounding, as in `span`
    high = math.ceil(min(max(highest + 2.0, 0.0), rows))
    return low, max(low, high)


@compiled(FAST)
def _project(volume, axis, lateral, reach, height, path, out):
    """Neighbouring columns of the detector cross the same voxels: a block of them goes through slab after slab."""
    views, columns = axis.shape
    rows, depth = out.shape[1], volume.shape[2]
    stack = volume.reshape(-1, depth)
    longest = max(volume.shape[0], volume.shape[1])
    blocks = (columns + BLOCK - 1) // BLOCK
    for item in prange(views * blocks):
        view, start = item // blocks, item % blocks * BLOCK
        stop = min(start + BLOCK, columns)
        totals = np.zeros((stop - start, rows), np.float32)
        column = np.zeros(BELOW + depth + ABOVE, np.float32)
        for begin in range(0, longest, SLAB):
            for u in range(start, stop):
                planes, count, stride, step = layout(axis[view, u], volume.shape)
                end = min(begin + SLAB, planes)
                first, last = span(lateral[view, u, 0], lateral[view, u, 1], count, min(begin, end), end)
                for plane in range(first, last):
                    a, b, weight_a, weight_b = neighbours(lateral[view, u, 0] + lateral[view, u, 1] * plane, count)
                    offset, slope, low, high = crossing(reach[view, u], height[view], plane, depth, 0, rows)
                    blend(
                        stack[plane * stride + a * step], stack[plane * stride + b * step], weight_a, weight_b, column
                    )
                    sample(column, offset, slope, low, high, totals[u - start])
        for k in range(rows):
            for u in range(start, stop):
                climb = path[view, u, 1] + path[view, u, 2] * k
                out[view, k, u] = totals[u - start, k] * np.float32(math.sqrt(path[view, u, 0] + climb * climb))


@compiled(FAST)
def _backproject(projections, axis, lateral, reach, height, path, volume):
    """Each ray writes at plane i into plane i only, so that slabs of planes are independent: no atomics, and every
    voxel sums its rays in the same order for any number of threads."""
    views, columns = axis.shape
    depth = volume.shape[2]
    stack = volume.reshape(-1, depth)
    base, end_row = seen_rows(axis, lateral, reach, height, volume.shape, projections.shape[1])
    rows = end_row - base
    weighted = np.empty((views, columns, rows), np.float32)
    for ray in prange(views * columns):
        view, u = ray // columns, ray % columns
        for k in range(rows):
            climb = path[view, u, 1] + path[view, u, 2] * (base + k)
            value = projections[view, base + k, u]
            weighted[view, u, k] = value * np.float32(math.sqrt(path[view, u, 0] + climb * climb))
    for along in range(2):
        planes, count, stride, step = layout(along, volume.shape)
        for slab in prange((planes + SLAB - 1) // SLAB):
            column = np.empty(BELOW + depth + ABOVE, np.float32)
            for view in range(views):
                for u in range(columns):
                    if axis[view, u] != along:
                        continue
                    begin, end = slab * SLAB, min(slab * SLAB + SLAB, planes)
                    first, last = span(lateral[view, u, 0], lateral[view, u, 1], count, begin, end)
                    for plane in range(first, last):
                        a, b, weight_a, weight_b = neighbours(lateral[view, u, 0] + lateral[view, u, 1] * plane, count)
                        offset, slope, low, high = crossing(reach[view, u], height[view], plane, depth, base, end_row)
                        column[:] = 0
                        spread(weighted[view, u], offset + slope * base, slope, low - base, high - base, column)
                        for index, weight in ((a, weight_a), (b, weight_b)):
                            target = stack[plane * stride + index * step]
                            for z in range(depth):
                                target[z] += weight * column[z + BELOW]
