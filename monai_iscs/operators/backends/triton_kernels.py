# SPDX-License-Identifier: Apache-2.0
"""Joseph's method as Triton kernels: one volume, one scan.

Tensors of a kernel are tiles whose last dimension is a warp's 32 lanes, along detector rows or along z, whose dimension
before is the warps, and whose leading ones stay within a thread. What does not depend on the lane (where a ray crosses a
plane, with which weights) is therefore computed once per warp and shared by the thread's elements.

Positions have 32 bits after the point: index and fraction are then the two halves of a 64-bit register.
"""

from __future__ import annotations

import triton
import triton.language as tl

LANES = tl.constexpr(32)
FIXED_ONE = tl.constexpr(2.0**32)
FIXED_UNIT = tl.constexpr(2.0**-32)
# 1.5 · 2^20 added to a float64 position in ±2^19 leaves its fixed point form in the mantissa: no conversion needed
MAGIC = tl.constexpr(1.5 * 2.0**20)
MAGIC_UPPER = tl.constexpr(0x41380000)  # the upper half of MAGIC's bits; the lower half is 0


@triton.jit
def _fraction(position):
    """The 32 bits after the point as float32 in [0, 1]."""
    return position.to(tl.uint32).to(tl.float32) * FIXED_UNIT


@triton.jit
def _inside(offset, slope, count):
    """Where -1 < offset + slope · plane < count, as a closed range widened by a hundredth: it only saves work."""
    offset = offset.to(tl.float32)
    slope = slope.to(tl.float32)
    slope = tl.where(tl.abs(slope) < 1e-20, 1e-20, slope)
    a = (-1.01 - offset) / slope
    b = (count + 0.01 - offset) / slope
    return tl.minimum(a, b), tl.maximum(a, b)


@triton.jit
def _in_range(index, count):
    return index.to(tl.uint32, bitcast=True) < tl.cast(count, tl.uint32)  # negative ones become huge


@triton.jit
def project(
    volume, out, axis, lateral, reach, height, path, X, Y, Z, rows, columns, LAYERS: tl.constexpr, WARPS: tl.constexpr
):
    """out[view, u, k] = the line integrals of a tile of 32 · LAYERS rows in WARPS neighbouring detector columns.

    Neighbouring columns share most of the voxels that they read, through the cache next to their processor.
    """
    row_tiles = tl.cdiv(rows, LANES * LAYERS)
    column_tiles = tl.cdiv(columns, WARPS)
    tile = tl.program_id(0)
    lane = tl.arange(0, LAYERS)[:, None, None] * LANES + tl.arange(0, LANES)[None, None, :]
    k = tile % row_tiles * (LANES * LAYERS) + lane
    u = tile // row_tiles % column_tiles * WARPS + tl.arange(0, WARPS)[None, :, None]
    view = tile // (row_tiles * column_tiles)
    ray = view * columns + tl.minimum(u, columns - 1)

    along_y = tl.load(axis + ray) == 1
    planes = tl.where(along_y, Y, X)
    count = tl.where(along_y, X, Y)
    stride = tl.where(along_y, 1, Y)
    step = tl.where(along_y, Y, 1)
    lateral_offset = tl.load(lateral + 2 * ray)
    lateral_slope = tl.load(lateral + 2 * ray + 1)
    climb = tl.load(height + 3 * view + 1) + tl.load(height + 3 * view + 2) * k.to(tl.float64)
    offset = tl.load(height + 3 * view) + tl.load(reach + 2 * ray) * climb
    slope = tl.load(reach + 2 * ray + 1) * climb

    # the planes in which any ray of the tile meets the volume
    first, last = _inside(lateral_offset, lateral_slope, count)
    first_z, last_z = _inside(offset, slope, Z)
    first = tl.maximum(tl.maximum(first, first_z), 0.0)
    last = tl.minimum(tl.minimum(last, last_z), (planes - 1).to(tl.float32))
    meets = first <= last
    begin = tl.min(tl.where(meets, tl.ceil(first), 1e9)).to(tl.int32)
    end = tl.max(tl.where(meets, tl.floor(last), -1.0)).to(tl.int32) + 1

    start = begin.to(tl.float64)
    crossing = ((lateral_offset + lateral_slope * start) * FIXED_ONE).to(tl.int64)
    crossing_step = (lateral_slope * FIXED_ONE).to(tl.int64)
    position = ((offset + slope * start) * FIXED_ONE).to(tl.int64)
    position_step = (slope * FIXED_ONE).to(tl.int64)
    total = tl.zeros([LAYERS, WARPS, LANES], tl.float32)
    for plane in range(begin, end):
        a = (crossing >> 32).to(tl.int32)
        within = plane < planes
        weight_b = _fraction(crossing)
        weight_a = tl.where(within & _in_range(a, count), 1.0 - weight_b, 0.0)
        weight_b = tl.where(within & _in_range(a + 1, count), weight_b, 0.0)
        corner = tl.minimum(plane, planes - 1) * stride
        near = volume + (corner + tl.minimum(tl.maximum(a, 0), count - 1) * step).to(tl.int64) * Z
        far = volume + (corner + tl.minimum(tl.maximum(a + 1, 0), count - 1) * step).to(tl.int64) * Z

        z = (position >> 32).to(tl.int32)
        has_lower = _in_range(z, Z)
        has_upper = _in_range(z + 1, Z)
        lower = weight_a * tl.load(near + z, has_lower, 0.0) + weight_b * tl.load(far + z, has_lower, 0.0)
        upper = weight_a * tl.load(near + z + 1, has_upper, 0.0) + weight_b * tl.load(far + z + 1, has_upper, 0.0)
        total += lower + _fraction(position) * (upper - lower)
        crossing += crossing_step
        position += position_step

    target = out + ray.to(tl.int64) * rows + k
    tl.store(target, total * _length(path, ray, k), (k < rows) & (u < columns))


@triton.jit
def _length(path, ray, k):
    """Path per plane, mm."""
    climb = (tl.load(path + 3 * ray + 1) + tl.load(path + 3 * ray + 2) * k.to(tl.float64)).to(tl.float32)
    return tl.sqrt(tl.load(path + 3 * ray).to(tl.float32) + climb * climb)


@triton.jit
def weigh(projections, out, path, rows, columns, padding, SIDE: tl.constexpr):
    """out[view, u, k] = path per plane · projections[view, k, u], for a tile; `padding` elements between rows of `out`."""
    row_tiles = tl.cdiv(rows, SIDE)
    column_tiles = tl.cdiv(columns, SIDE)
    tile = tl.program_id(0)
    k = tile % row_tiles * SIDE + tl.arange(0, SIDE)[None, :]
    u = tile // row_tiles % column_tiles * SIDE + tl.arange(0, SIDE)[:, None]
    view = tile // (row_tiles * column_tiles)
    mask = (k < rows) & (u < columns)
    ray = view * columns + tl.minimum(u, columns - 1)
    values = tl.load(projections + (view * rows + k).to(tl.int64) * columns + u, mask, 0.0)
    tl.store(out + ray.to(tl.int64) * (rows + padding) + k, values * _length(path, ray, k), mask)


@triton.jit
def backproject(
    values,
    volume,
    axis,
    lateral,
    shadow,
    advance,
    growth,
    level,
    X,
    Y,
    Z,
    views,
    rows,
    columns,
    padding,
    AXIS: tl.constexpr,
    COLUMNS: tl.constexpr,
    LAYERS: tl.constexpr,
    WARPS: tl.constexpr,
    TAPS: tl.constexpr,
):
    """The voxels of a tile gather from all rays that step along AXIS: WARPS planes, COLUMNS z-columns, 32 · LAYERS slices.

    Voxel z of a plane, from the rays of one detector column: row k meets the plane 1/grow voxels above row k − 1, and

        kappa = (z − 1 − height of the source) · grow − (row at the height of the source)

    is the (fractional) row that meets it one voxel below z. The rows above kappa are summed with the weights of the
    linear interpolation, once for both z-columns next to the crossing. `values` are the projections times path lengths
    as (view, u, v), with `padding` zeros before each row of them and after the last.
    """
    planes = X if AXIS == 0 else Y
    count = Y if AXIS == 0 else X
    z_tiles = tl.cdiv(Z, LANES * LAYERS)
    column_tiles = tl.cdiv(count, COLUMNS)
    tile = tl.program_id(0)
    j = tile // z_tiles % column_tiles * COLUMNS
    corner = tile // (z_tiles * column_tiles) * WARPS
    own_plane = corner + tl.arange(0, WARPS)[None, None, :, None]
    plane = tl.minimum(own_plane, planes - 1)
    lane = tl.arange(0, LAYERS)[None, :, None, None] * LANES + tl.arange(0, LANES)[None, None, None, :]
    z = tile % z_tiles * (LANES * LAYERS) + lane
    member = tl.arange(0, COLUMNS)[:, None, None, None]
    before = j - 1
    behind = tl.minimum(j + COLUMNS, count)
    last_plane = tl.minimum(corner + WARPS, planes) - 1

    total = tl.zeros([COLUMNS, LAYERS, WARPS, LANES], tl.float32)
    for view in range(views):
        # the detector columns whose crossings lie between `before` and `behind`, none of which touches the tile
        shadow_plane = tl.load(shadow + 6 * view) + tl.load(shadow + 6 * view + 1 + AXIS) * plane
        depth_plane = tl.load(shadow + 6 * view + 3) + tl.load(shadow + 6 * view + 4 + AXIS) * plane
        shadow_slope = tl.load(shadow + 6 * view + 2 - AXIS)
        depth_slope = tl.load(shadow + 6 * view + 5 - AXIS)
        left = (shadow_plane + shadow_slope * before) / (depth_plane + depth_slope * before)
        right = (shadow_plane + shadow_slope * behind) / (depth_plane + depth_slope * behind)
        low = tl.minimum(tl.maximum(tl.minimum(left, right) - 0.02, 0.0), columns + 0.0)
        high = tl.minimum(tl.maximum(tl.maximum(left, right) + 0.02, -1.0), columns - 1.0)
        first_u = tl.ceil(low).to(tl.int32)
        visits = tl.max(tl.floor(high).to(tl.int32) - first_u) + 1

        plane_slope = tl.load(shadow + 6 * view + 4 + AXIS)
        depth = tl.load(shadow + 6 * view + 3) + tl.minimum(plane_slope * corner, plane_slope * last_plane)
        depth += tl.minimum(depth_slope * before, depth_slope * behind)
        taps = tl.ceil(tl.load(level + 3 * view + 2).to(tl.float32) / depth + 0.01).to(tl.int32)

        growth_plane = tl.load(growth + view * (X + Y) + AXIS * X + plane)
        above = z.to(tl.float64) - tl.load(level + 3 * view)
        shift = tl.load(level + 3 * view + 1)
        for visit in range(visits):
            u = first_u + visit
            ray = view * columns + tl.minimum(u, columns - 1)
            crossing = tl.load(lateral + 2 * ray) + tl.load(lateral + 2 * ray + 1) * plane
            distance = tl.abs((crossing - j).to(tl.float32) - member)
            hits = (u < columns) & (tl.load(axis + ray) == AXIS)
            weight = tl.where(hits, tl.maximum(1.0 - distance, 0.0), 0.0)

            grow = tl.load(advance + ray) * growth_plane
            slope = 1.0 / grow.to(tl.float32)
            kappa = (above * grow + shift).to(tl.int64, bitcast=True)
            k = (kappa >> 32).to(tl.int32) - (MAGIC_UPPER - 1)  # the row above
            k = tl.where((k >= -padding) & (k < rows), k, rows)  # else zeros
            gap = slope - slope * _fraction(kappa) - 1.0
            source = values + ray.to(tl.int64) * (rows + padding) + k
            gathered = tl.zeros([1, LAYERS, WARPS, LANES], tl.float32)
            for tap in tl.static_range(TAPS):
                gathered += tl.load(source + tap) * tl.maximum(1.0 - tl.abs(gap + tap * slope), 0.0)
            for tap in range(TAPS, taps):
                gathered += tl.load(source + tap) * tl.maximum(1.0 - tl.abs(gap + tap * slope), 0.0)
            total += weight * gathered

    column = own_plane * (Y if AXIS == 0 else 1) + (j + member) * (1 if AXIS == 0 else Y)
    target = volume + column.to(tl.int64) * Z + z
    mask = (own_plane < planes) & (j + member < count) & (z < Z)
    if AXIS == 1:
        total += tl.load(target, mask, 0.0)
    tl.store(target, total, mask)
