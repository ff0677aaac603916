# SPDX-License-Identifier: Apache-2.0
"""Filtered backprojection for cone beams (Feldkamp, Davis and Kress 1984)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numba import njit, prange

from monai_iscs.classical.redundancy import RayShares, ray_shares
from monai_iscs.classical.row_filter import check_hann, columns_beyond, filter_rows
from monai_iscs.classical.unscaled import unscaled
from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamProjector
from monai_iscs.operators.backends.compiled import compiled
from monai_iscs.operators.backends.numba_joseph import ABOVE, BELOW, blend, neighbours, sample, span
from monai_iscs.operators.backends.rays import RayTable
from monai_iscs.operators.circle import check_circle, rotation_axis
from monai_iscs.scans import Measurement


def fdk(measurement: Measurement, *, hann: float | None = 1.0) -> torch.Tensor:
    """Reconstruct cone-beam projections in the units of the operator's domain.

    Source and detector are taken from each view's vectors, and the axis around which the source moves from all of them
    (`rotation_axis`). A ray of direction d is weighted by |S · d|, the distance that the source S moves across the ray
    per radian of its angle: on a circle that the detector faces, SID times the cosine of the ray. Then a band-limited
    ramp filter along u (Kak and Slaney 1988, Eq. 61) and a backprojection weighted by 1 / L², L being the voxel's
    distance from the source along the detector's normal. Each view represents its own part of the circle, and rays that
    measure the same line share it: see `ray_shares`. A detector off the rotation axis (half-fan) is padded with zeros
    to the same extent on both sides, so that the ramp's tails continue there.

    Where the body is wider than the detector, its rows are continued by a quarter of their length, falling smoothly
    from the value at the edge to 0: cut off there, the ramp would draw a bright rim (Ohnesorge et al. 2000). Voxels
    above and below what the detector sees get the values of its last rows, as if the body went on unchanged.

    Args:
        measurement: (C, view, v, u) of a `ConeBeamProjector`, also of a scaled one.
        hann: cut-off of a Hann window on the ramp as a fraction of the Nyquist frequency, in (0, 1]; None = no window.

    Returns:
        (C, X, Y, Z) on the measurement's device, computed in float32; float64 for float64.

    Raises:
        InputError: another operator, `hann` out of range, a tilted detector, a source whose path is no circle or arc
            across z (such as a helix), or a full circle in which no detector column sees the rotation axis.
    """
    check_hann(hann)
    projections, projector = unscaled(measurement)
    if not isinstance(projector, ConeBeamProjector):
        raise InputError(f"fdk: found a measurement of {projector.name}, expected one of ConeBeamProjector")
    rays = RayTable.of(projector.geometry, projector.grid)
    check_circle(rays.geometry, rays.grid.center)
    rays.geometry.check_flat("FDK")
    axis = rotation_axis(rays.geometry, rays.grid.center)
    shares = ray_shares(rays.geometry, axis)
    y = projections.detach().to(torch.float32)
    x = torch.stack([_reconstructed(item, rays, axis, shares, hann) for item in y])
    return x.to(projections.dtype)


def _reconstructed(
    y: torch.Tensor, rays: RayTable, axis: np.ndarray, shares: RayShares, hann: float | None
) -> torch.Tensor:
    beyond = columns_beyond(y)
    filtered = filter_rows(y, _weights(rays, axis, shares), hann, beyond, before=shares.before, after=shares.after)
    below, above = _rows_beyond(rays)
    if below or above:
        filtered = torch.nn.functional.pad(filtered, (0, 0, below, above), mode="replicate")
    return _backproject(filtered, rays, shares.before + beyond, below)


def _rows_beyond(rays: RayTable) -> tuple[int, int]:
    """How many rows the detector lacks below and above to see every voxel."""
    rows, _ = rays.detector_shape
    corner = np.array([[1, x, y] for x in (0, rays.volume_shape[0] - 1) for y in (0, rays.volume_shape[1] - 1)])
    share = np.einsum("vi,ci->vc", rays.shadow[:, 1], corner)[..., None]
    z = np.array([0, rays.volume_shape[2] - 1])
    first, start, step = (rays.height[:, i, None, None] for i in range(3))
    row = ((z - first) / share - start) / step
    return max(math.ceil(-row.min()), 0), max(math.ceil(row.max() - (rows - 1)), 0)


def _weights(rays: RayTable, axis: np.ndarray, shares: RayShares) -> Iterator[torch.Tensor]:
    """The weight of each pixel (v, u) of a view, for a ramp in pixels and depths relative to the detector's."""
    scan = rays.geometry
    row, column = (np.arange(n) - (n - 1) / 2 for n in scan.detector_shape)
    for source, detector, u, v, share in zip(scan.source, scan.detector, scan.u, scan.v, shares.angles, strict=True):
        ray = (detector - source)[:2] + column[:, None] * u[:2]
        climb = detector[2] - source[2] + row[:, None] * v[2]
        pitch = np.linalg.norm(u)
        distance = abs(np.cross(u / pitch, detector - source)[2])  # of the detector's plane from the source
        across = np.abs(ray @ (source[:2] - axis)) / np.sqrt((ray**2).sum(1) + climb**2)
        yield torch.from_numpy((share * across / (distance * pitch)).astype(np.float32))


def _backproject(y: torch.Tensor, rays: RayTable, before: int, below: int) -> torch.Tensor:
    """Sum y at each voxel's shadow over the views, by the square of its nearness, (view, v, u) to (X, Y, Z).

    y has some columns before and some rows below those of the detector.
    """
    if y.device.type == "cpu":
        out = np.zeros(rays.volume_shape, np.float32)
        _backproject_numba(
            np.ascontiguousarray(y.numpy().transpose(0, 2, 1)), rays.shadow, rays.height, before, below, out
        )
        return torch.from_numpy(out)
    return _backproject_torch(y, rays, before, below)


@njit(inline="always")
def _shadow(shadow, height, x, y):
    """For voxels (x, y): detector column, depth relative to the detector's, and detector row as a + b · z."""
    depth = shadow[1, 0] + shadow[1, 1] * x + shadow[1, 2] * y
    column = (shadow[0, 0] + shadow[0, 1] * x + shadow[0, 2] * y) / depth
    slope = 1.0 / (depth * height[2])
    return column, depth, -slope * height[0] - height[1] / height[2], slope


@compiled()
def _backproject_numba(y, shadow, height, before, below, out):
    views, columns, rows = y.shape
    for i in prange(out.shape[0]):
        blended = np.zeros(BELOW + rows + ABOVE, np.float32)
        for j in range(out.shape[1]):
            for view in range(views):
                column, depth, offset, slope = _shadow(shadow[view], height[view], i, j)
                column += before
                offset += below
                if not -1.0 < column < columns:
                    continue
                a, b, weight_a, weight_b = neighbours(column, columns)
                weight = np.float32(1.0 / (depth * depth))
                low, high = span(offset, slope, rows, 0, out.shape[2])
                blend(y[view, a], y[view, b], weight * weight_a, weight * weight_b, blended)
                sample(blended, offset, slope, low, high, out[i, j])


def _backproject_torch(y: torch.Tensor, rays: RayTable, before: int, below: int) -> torch.Tensor:
    rows, columns = y.shape[1:]
    out = y.new_zeros(rays.volume_shape)
    i, j, k = (np.arange(n) for n in rays.volume_shape)
    size = torch.tensor([columns, rows]).to(y)
    for image, shadow, height in zip(y, rays.shadow, rays.height, strict=True):
        # in float64 on the host: positions may be large and cancel
        column, depth, offset, slope = _shadow.py_func(shadow, height, i[:, None], j)
        row, column, nearness = (
            torch.from_numpy(array).to(y)
            for array in (below + offset[..., None] + slope[..., None] * k, column + before, 1 / depth**2)
        )
        index = torch.stack([column[..., None].expand_as(row), row], -1).flatten(0, 1)
        sampled = torch.nn.functional.grid_sample(
            image[None, None], ((index + 0.5) * 2 / size - 1)[None], align_corners=False
        )
        out += sampled.reshape(out.shape) * nearness[..., None]
    return out
