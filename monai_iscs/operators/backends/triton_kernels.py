# SPDX-License-Identifier: Apache-2.0
"""Joseph's method as Triton kernels: one volume, one scan.

Tensors of a kernel are tiles: their last dimension is a warp's 32 lanes, along detector rows or along z, the dimension
before is the warps, and the leading ones stay within a thread. Values that do not depend on the lane (where a ray
crosses a plane, with which weights) are therefore computed once per warp and shared by the thread's elements.

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


# One compilation serves all scans: Triton must not compile again where one of these is 1 or divisible by 16.
SIZES = ["X", "Y", "Z", "views", "rows", "columns", "padding"]


@triton.jit(do_not_specialize=SIZES[:3] + SIZES[4:6])
def project(
    volume, out, axis, lateral, reach, height, path, X, Y, Z, rows, columns, LAYERS: tl.constexpr, WARPS: tl.constexpr
):
    """out[view, u, k] = the line integrals of a tile of 32 · LAYERS rows in WARPS neighbouring detector columns.

    Neighbouring columns share most of the voxels that they read, through the cache next to their processor.
    """
    row_tiles = (rows + LANES * LAYERS - 1) // (LANES * LAYERS)
    column_tiles = (columns + WARPS - 1) // WARPS
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

    # The planes in which any ray of the tile meets the volume, -1 < offset + slope · plane < size. This only saves
    # work: the hundredth covers the rounding of float32.
    along = tl.where(tl.abs(lateral_slope) < 1e-20, 1e-20, lateral_slope).to(tl.float32)
    enter_side = (-1.01 - lateral_offset.to(tl.float32)) / along
    leave_side = (count + 0.01 - lateral_offset.to(tl.float32)) / along
    upward = tl.where(tl.abs(slope) < 1e-20, 1e-20, slope).to(tl.float32)
    enter_end = (-1.01 - offset.to(tl.float32)) / upward
    leave_end = (Z + 0.01 - offset.to(tl.float32)) / upward
    first = tl.maximum(tl.minimum(enter_side, leave_side), tl.minimum(enter_end, leave_end))
    last = tl.minimum(tl.maximum(enter_side, leave_side), tl.maximum(enter_end, leave_end))
    first = tl.maximum(first, 0.0)
    last = tl.minimum(last, planes - 1.0)
    end = tl.max(tl.where(first <= last, tl.floor(last), -1.0)).to(tl.int32) + 1
    begin = tl.minimum(tl.min(tl.where(first <= last, tl.ceil(first), 1e9)).to(tl.int32), end)

    start = begin.to(tl.float64)
    size = tl.cast(Z, tl.uint32)
    crossing = ((lateral_offset + lateral_slope * start) * FIXED_ONE).to(tl.int64)
    crossing_step = (lateral_slope * FIXED_ONE).to(tl.int64)
    position = ((offset + slope * start) * FIXED_ONE).to(tl.int64)
    position_step = (slope * FIXED_ONE).to(tl.int64)
    total = tl.full([LAYERS, WARPS, LANES], 0.0, tl.float32)
    for plane in range(begin, end):
        a = (crossing >> 32).to(tl.int32)
        fraction = crossing.to(tl.uint32).to(tl.float32) * FIXED_UNIT
        weight_a = tl.where((plane < planes) & (a >= 0) & (a < count), 1.0 - fraction, 0.0)
        weight_b = tl.where((plane < planes) & (a >= -1) & (a < count - 1), fraction, 0.0)
        corner = tl.minimum(plane, planes - 1) * stride
        near = volume + (corner + tl.minimum(tl.maximum(a, 0), count - 1) * step).to(tl.int64) * Z
        far = volume + (corner + tl.minimum(tl.maximum(a + 1, 0), count - 1) * step).to(tl.int64) * Z

        z = (position >> 32).to(tl.int32)
        has_lower = z.to(tl.uint32, bitcast=True) < size  # negative ones are huge
        has_upper = (z + 1).to(tl.uint32, bitcast=True) < size
        lower = weight_a * tl.load(near + z, has_lower, 0.0) + weight_b * tl.load(far + z, has_lower, 0.0)
        upper = weight_a * tl.load(near + z + 1, has_upper, 0.0) + weight_b * tl.load(far + z + 1, has_upper, 0.0)
        total += lower + position.to(tl.uint32).to(tl.float32) * FIXED_UNIT * (upper - lower)
        crossing += crossing_step
        position += position_step

    climb = (tl.load(path + 3 * ray + 1) + tl.load(path + 3 * ray + 2) * k.to(tl.float64)).to(tl.float32)
    length = tl.sqrt(tl.load(path + 3 * ray).to(tl.float32) + climb * climb)
    tl.store(out + ray.to(tl.int64) * rows + k, total * length, (k < rows) & (u < columns))


@triton.jit(do_not_specialize=SIZES[4:])
def weigh(projections, out, path, rows, columns, padding, SIDE: tl.constexpr):
    """out[view, u, k] = path per plane · projections[view, k, u], for a tile; `padding` elements between rows."""
    row_tiles = (rows + SIDE - 1) // SIDE
    column_tiles = (columns + SIDE - 1) // SIDE
    tile = tl.program_id(0)
    k = tile % row_tiles * SIDE + tl.arange(0, SIDE)[None, :]
    u = tile // row_tiles % column_tiles * SIDE + tl.arange(0, SIDE)[:, None]
    view = tile // (row_tiles * column_tiles)
    mask = (k < rows) & (u < columns)
    ray = view * columns + tl.minimum(u, columns - 1)
    values = tl.load(projections + (view * rows + k).to(tl.int64) * columns + u, mask, 0.0)
    climb = (tl.load(path + 3 * ray + 1) + tl.load(path + 3 * ray + 2) * k.to(tl.float64)).to(tl.float32)
    length = tl.sqrt(tl.load(path + 3 * ray).to(tl.float32) + climb * climb)
    tl.store(out + ray.to(tl.int64) * (rows + padding) + k, values * length, mask)


@triton.jit(do_not_specialize=[*SIZES, "entries"])
def backproject(
    values,
    volume,
    axis,
    lateral,
    shadow,
    segment,
    advance,
    growth,
    level,
    nearest,
    shown,
    X,
    Y,
    Z,
    views,
    rows,
    columns,
    padding,
    entries,
    AXIS: tl.constexpr,
    COLUMNS: tl.constexpr,
    LAYERS: tl.constexpr,
    WARPS: tl.constexpr,
    TAPS: tl.constexpr,
    CURVED: tl.constexpr,
):
    """A tile of WARPS planes, COLUMNS z-columns and 32 · LAYERS slices gathers from all rays that step along AXIS.

    Voxel z of a plane, from the rays of one detector column: row k meets the plane 1/grow voxels above row k − 1, and

        kappa = (z − 1 − height of the source) · grow − (row at the height of the source)

    is the (fractional) row that meets it one voxel below z. The rows above kappa are summed with the weights of the
    linear interpolation, once for both z-columns next to the crossing. `values` are the projections times path lengths
    as (view, u, v), with `padding` zeros before each row of them and after the last.
    """
    planes = X if AXIS == 0 else Y
    count = Y if AXIS == 0 else X
    z_tiles = (Z + LANES * LAYERS - 1) // (LANES * LAYERS)
    column_tiles = (count + COLUMNS - 1) // COLUMNS
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

    total = tl.full([COLUMNS, LAYERS, WARPS, LANES], 0.0, tl.float32)
    for view in range(views):
        # the detector columns whose crossings lie between `before` and `behind`, among those that step along AXIS
        begin = tl.load(segment + 4 * view + 2 * AXIS)
        end = tl.load(segment + 4 * view + 2 * AXIS + 1)
        shadow_plane = tl.load(shadow + 6 * view) + tl.load(shadow + 6 * view + 1 + AXIS) * plane
        depth_plane = tl.load(shadow + 6 * view + 3) + tl.load(shadow + 6 * view + 4 + AXIS) * plane
        shadow_slope = tl.load(shadow + 6 * view + 2 - AXIS)
        depth_slope = tl.load(shadow + 6 * view + 5 - AXIS)
        left = (shadow_plane + shadow_slope * before) / (depth_plane + depth_slope * before)
        right = (shadow_plane + shadow_slope * behind) / (depth_plane + depth_slope * behind)
        low = tl.minimum(left, right) - 0.02
        if CURVED:  # the flat detector's columns are an index of the curved one's
            index = tl.minimum(tl.maximum(tl.floor(low - tl.load(shown + 2 * view)), 0.0), entries - 1.0)
            low = tl.load(nearest + view * entries + index.to(tl.int32)).to(tl.float32)
        low = tl.minimum(tl.maximum(low, begin), end)
        first_u = tl.ceil(low).to(tl.int32)

        # The nearest depth bounds the rows per voxel, and with it (a projective map) the columns in between.
        plane_slope = tl.load(shadow + 6 * view + 4 + AXIS)
        constant = tl.load(shadow + 6 * view + 3)
        depth = constant + tl.minimum(plane_slope * corner, plane_slope * last_plane)
        depth += tl.minimum(depth_slope * before, depth_slope * behind)
        area = shadow_slope * constant - depth_slope * tl.load(shadow + 6 * view)
        area_slope = shadow_slope * plane_slope - depth_slope * tl.load(shadow + 6 * view + 1 + AXIS)
        area = tl.maximum(tl.abs(area + area_slope * corner), tl.abs(area + area_slope * last_plane))
        width = area / (depth * depth) * (behind - before) + 0.05
        if CURVED:  # an entry of the index is one column of the flat detector wide
            width = (width + 1.0) * tl.load(shown + 2 * view + 1)
        visits = tl.floor(tl.minimum(width, end - begin - 1.0)).to(tl.int32) + 1
        taps = tl.ceil(tl.load(level + 3 * view + 2).to(tl.float32) / depth + 0.01).to(tl.int32)

        growth_plane = tl.load(growth + view * (X + Y) + AXIS * X + plane)
        above = z.to(tl.float64) - tl.load(level + 3 * view)
        shift = tl.load(level + 3 * view + 1)
        for visit in range(visits):
            u = first_u + visit
            ray = view * columns + tl.minimum(u, columns - 1)
            crossing = tl.load(lateral + 2 * ray) + tl.load(lateral + 2 * ray + 1) * plane
            distance = tl.abs((crossing - j).to(tl.float32) - member)
            hits = (u < end) & (tl.load(axis + ray) == AXIS)
            weight = tl.where(hits, tl.maximum(1.0 - distance, 0.0), 0.0)

            grow = tl.load(advance + ray) * growth_plane
            slope = 1.0 / grow.to(tl.float32)
            kappa = (above * grow + shift).to(tl.int64, bitcast=True)
            k = (kappa >> 32).to(tl.int32) - (MAGIC_UPPER - 1)  # the row above
            k = tl.where((k >= -padding) & (k < rows), k, rows)  # else zeros
            gap = slope - slope * (kappa.to(tl.uint32).to(tl.float32) * FIXED_UNIT) - 1.0
            source = values + ray.to(tl.int64) * (rows + padding) + k
            gathered = tl.full([1, LAYERS, WARPS, LANES], 0.0, tl.float32)
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
