# SPDX-License-Identifier: Apache-2.0
"""Filtered backprojection for cone beams (Feldkamp, Davis and Kress 1984)."""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import njit, prange

from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.operators.backends.numba_joseph import blend, neighbours, sample, span


def fdk(projections: torch.Tensor, geometry: ConeBeamGeometry, *, hann: float | None = 1.0) -> torch.Tensor:
    """Reconstruct projections = A(volume) in the volume's units.

    Cosine weights, band-limited ramp filter along u (Kak and Slaney 1988, Eq. 61), voxel-driven backprojection weighted
    by (SID / L)², L being the voxel's distance from the source along the central ray. Views are taken as equally
    spaced; an arc of more than 180° is divided by the mean number of times it sees a ray, so a full circle by 2. A
    detector offset along u in a full circle (half-fan) gets a smooth redundancy weight (Wang 2002).

    Args:
        projections: (..., view, v, u), any number of leading dimensions.
        geometry: the scan.
        hann: cut-off of a Hann window on the ramp as a fraction of the Nyquist frequency, in (0, 1]; None = no window.

    Returns:
        (..., X, Y, Z) on the projections' device, computed in float32; float64 for float64.

    Raises:
        InputError: if the shape does not fit the geometry, `hann` is out of range, or no detector column sees the
            rotation axis.
    """
    projections = real_tensor(projections, "projections")
    shape = geometry.projection_shape
    if tuple(projections.shape[-3:]) != shape:
        raise InputError(
            f"a measurement whose shape doesn't fit the geometry: it has shape {tuple(projections.shape)}, "
            f"expected it to end in {shape}"
        )
    if hann is not None and not 0 < hann <= 1:
        raise InputError(f"hann is {hann}, expected a fraction of the Nyquist frequency in (0, 1], or None")
    y = projections.detach().as_subclass(torch.Tensor).reshape(-1, *shape).to(torch.float32)
    filtered = _filter(y * _weights(geometry).to(y.device), geometry, hann)
    x = torch.stack([_backproject(item, geometry) for item in filtered])
    return x.reshape(*projections.shape[:-3], *geometry.volume_shape).to(projections.dtype)


def _weights(geometry: ConeBeamGeometry) -> torch.Tensor:
    """What each pixel (v, u) is worth: cosine of its ray, angular step, redundancy of the orbit; float32."""
    v, u = (
        (np.arange(n) - (n - 1) / 2) * pitch + offset
        for n, pitch, offset in zip(
            geometry.detector_shape, geometry.detector_pitch, geometry.detector_offset, strict=True
        )
    )
    step, arc = _angular_step_and_arc(geometry.angles)
    distance = geometry.source_to_detector
    weight = distance / np.sqrt(distance**2 + v[:, None] ** 2 + u**2) * (step * min(1.0, math.pi / arc))
    if geometry.detector_offset[1] != 0 and math.isclose(arc, 2 * math.pi, rel_tol=1e-6):
        weight = weight * _half_fan(u, geometry)
    return torch.from_numpy(weight.astype(np.float32))


def _angular_step_and_arc(angles: tuple[float, ...]) -> tuple[float, float]:
    """The usual gap between neighbouring views, and the arc that it makes of all views; radians."""
    ordered = np.sort(np.mod(angles, 2 * math.pi))
    gaps = np.diff(ordered, append=ordered[0] + 2 * math.pi)
    step = float(np.median(gaps))
    return step, min(step * len(angles), 2 * math.pi)


def _half_fan(u: np.ndarray, geometry: ConeBeamGeometry) -> np.ndarray:
    """Rays seen twice share one smoothly: 0 at the detector's near edge, 2 where its far side is alone."""
    offset = geometry.detector_offset[1]
    overlap = geometry.detector_shape[1] * geometry.detector_pitch[1] / 2 - abs(offset)
    if overlap <= 0:
        raise InputError(
            f"detector_offset along u is {offset} mm, expected less than half the detector's width "
            f"({overlap + abs(offset)} mm): no column sees the rotation axis"
        )
    fan = np.arctan(math.copysign(1.0, offset) * u / geometry.source_to_detector)
    edge = math.atan(overlap / geometry.source_to_detector)
    return 1 + np.sin(math.pi / 2 * np.clip(fan / edge, -1, 1))


def _filter(y: torch.Tensor, geometry: ConeBeamGeometry, hann: float | None) -> torch.Tensor:
    """Convolve each detector row with the ramp, on the detector scaled to the isocentre."""
    columns = y.shape[-1]
    pitch = geometry.detector_pitch[1] * geometry.source_to_isocenter / geometry.source_to_detector
    length = 2 ** math.ceil(math.log2(max(2 * columns, 2)))
    n = torch.fft.fftfreq(length, 1 / length, dtype=torch.float64).round()
    kernel = torch.where(n % 2 == 0, 0.0, -1 / (math.pi * torch.where(n == 0, 1.0, n) * pitch) ** 2)
    kernel[0] = 1 / (4 * pitch**2)
    response = torch.fft.rfft(kernel).real * pitch
    if hann is not None:
        frequency = torch.linspace(0, 1, len(response), dtype=torch.float64)
        response = response * torch.where(frequency < hann, 0.5 + 0.5 * torch.cos(math.pi * frequency / hann), 0.0)
    response = response.to(device=y.device, dtype=torch.float32)
    # a view at a time: the zero-padded spectra of all views together would be the largest thing in memory
    filtered = [torch.fft.irfft(torch.fft.rfft(view, length) * response, length)[..., :columns] for view in y.unbind(1)]
    return torch.stack(filtered, 1)


def _backproject(y: torch.Tensor, geometry: ConeBeamGeometry) -> torch.Tensor:
    """Sum (SID / L)² y at each voxel's shadow over the views, (view, v, u) to (X, Y, Z)."""
    if y.device.type == "cpu":
        rows_last = np.ascontiguousarray(y.numpy().transpose(0, 2, 1))
        out = np.zeros(geometry.volume_shape, np.float32)
        centers = [geometry.voxel_centers(axis) for axis in range(3)]
        _backproject_numba(rows_last, *geometry.view_vectors(), *centers, out)
        return torch.from_numpy(out)
    return _backproject_torch(y, geometry)


@njit(inline="always")
def _shadow(source, detector, u, v, x, y, columns, rows):
    """Detector column of the voxels at (x, y), the depth as a share of the isocentre's, and the row as a + b · z."""
    normal_x, normal_y = -source[0], -source[1]  # the central ray, |normal| = SID
    squared = normal_x * normal_x + normal_y * normal_y
    depth = ((x - source[0]) * normal_x + (y - source[1]) * normal_y) / squared
    full = ((detector[0] - source[0]) * normal_x + (detector[1] - source[1]) * normal_y) / squared
    grow = full / depth
    across_x = (x - source[0]) * grow + source[0] - detector[0]
    across_y = (y - source[1]) * grow + source[1] - detector[1]
    column = (across_x * u[0] + across_y * u[1]) / (u[0] * u[0] + u[1] * u[1]) + (columns - 1) / 2
    row_slope = grow / v[2]
    row_offset = (source[2] - detector[2]) / v[2] - row_slope * source[2] + (rows - 1) / 2
    return column, depth, row_offset, row_slope


@njit(parallel=True, cache=True)
def _backproject_numba(y, sources, detectors, us, vs, xs, ys, zs, out):
    views, columns, rows = y.shape
    for i in prange(len(xs)):
        blended = np.zeros(rows + 3, np.float32)
        for j in range(len(ys)):
            for view in range(views):
                column, depth, offset, slope = _shadow(
                    sources[view], detectors[view], us[view], vs[view], xs[i], ys[j], columns, rows
                )
                if not -1.0 < column < columns:
                    continue
                a, b, weight_a, weight_b = neighbours(column, columns)
                weight = np.float32(1.0 / (depth * depth))
                first, step = offset + slope * zs[0], slope * (zs[-1] - zs[0]) / max(len(zs) - 1, 1)
                low, high = span(first, step, rows, 0, len(zs))
                blend(y[view, a], y[view, b], weight * weight_a, weight * weight_b, blended)
                sample(blended, first + 1.0, step, low, high, out[i, j])


def _backproject_torch(y: torch.Tensor, geometry: ConeBeamGeometry) -> torch.Tensor:
    rows, columns = y.shape[1:]
    xs, ys, zs = (torch.from_numpy(geometry.voxel_centers(axis)).to(y) for axis in range(3))
    out = y.new_zeros(geometry.volume_shape)
    vectors = zip(*(array.tolist() for array in geometry.view_vectors()), strict=True)
    for image, view in zip(y, vectors, strict=True):
        column, depth, offset, slope = _shadow.py_func(*view, xs[:, None], ys, columns, rows)
        row = offset[..., None] + slope[..., None] * zs
        index = torch.stack([column[..., None].expand_as(row), row], -1).flatten(0, 1)
        size = torch.tensor([columns, rows]).to(y)
        sampled = torch.nn.functional.grid_sample(
            image[None, None], ((index + 0.5) * 2 / size - 1)[None], align_corners=False
        )
        out += sampled.reshape(out.shape) / depth[..., None] ** 2
    return out
