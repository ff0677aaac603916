# SPDX-License-Identifier: Apache-2.0
"""The rays of a scan, for all backends of Joseph's method."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators.geometry import ConeBeamGeometry


@dataclass(frozen=True)
class AlignedScan:
    """A scan and the grid of its volumes in a frame whose x, y, z are the grid's axes; lengths in mm."""

    geometry: ConeBeamGeometry
    grid: Grid

    @classmethod
    def of(cls, geometry: ConeBeamGeometry, grid: Grid) -> AlignedScan:
        """Turn both into the grid's axes.

        Any scan is taken. A backend that takes less has a subclass, which refuses the rest.

        Raises:
            InputError: a grid whose axes are not at right angles.
        """
        return cls(geometry.along(grid), grid.straight)

    @property
    def volume_shape(self) -> tuple[int, int, int]:
        """(X, Y, Z)."""
        return self.grid.shape

    @property
    def detector_shape(self) -> tuple[int, int]:
        """(v, u)."""
        return self.geometry.detector_shape


@dataclass(frozen=True)
class RayTable(AlignedScan):
    """Joseph's method, factorised: one row of numbers per (view, detector column), shared by all detector rows.

    All rays of one detector column lie in one vertical plane through the source. Its trace in the x-y plane steps along
    the axis it advances faster on in voxels (`axis`, 0 = x, 1 = y): at plane i it crosses the other axis at index
    `lateral[0] + lateral[1] · i`, after the fraction s = `reach[0] + reach[1] · i` of the way from source to detector.
    There the ray of detector row k is at z index

        height[0] + s · (height[1] + height[2] · k),

    and its path per plane is sqrt(path[0] + (path[1] + path[2] · k)²) mm.

    Conversely, the point at voxel indices (x, y) lies after the fraction s = shadow[1] · (1, x, y) of the way
    from source to a flat detector, in the plane of detector column shadow[0] · (1, x, y) / s. For a curved detector
    that is the flat one that touches it at its centre, which no ray meets before it.

    Attributes:
        geometry: the scan that is tabulated, in the grid's axes.
        grid: of the volumes, in its own axes.
        axis: (views, u), uint8.
        lateral, reach: (views, u, 2), float64.
        height: (views, 3), float64.
        path: (views, u, 3), float64.
        shadow: (views, 2, 3), float64.
    """

    axis: np.ndarray
    lateral: np.ndarray
    reach: np.ndarray
    height: np.ndarray
    path: np.ndarray
    shadow: np.ndarray

    @classmethod
    def of(cls, geometry: ConeBeamGeometry, grid: Grid) -> RayTable:
        """Tabulate a scan of a volume.

        Raises:
            InputError: a grid whose axes are not at right angles, a detector that does not stand upright on its x-y
                plane, a volume that reaches the source, or rays steeper than 45°.
        """
        geometry, grid = geometry.along(grid), grid.straight
        geometry.check_upright()
        _check_rays(geometry, grid)
        source, detector, u, v = geometry.source, geometry.detector, geometry.u, geometry.v
        rows, columns = geometry.detector_shape
        spacing = np.asarray(grid.spacing)
        first = np.asarray(grid.affine)[:3, 3]

        start = (source[:, None, :2] - first[:2]) / spacing[:2]  # in voxel indices
        places = geometry.column_places(np.arange(columns) - (columns - 1) / 2)
        step = (places - source[:, None])[..., :2] / spacing[:2]
        axis = (np.abs(step[..., 1]) > np.abs(step[..., 0])).astype(np.uint8)

        def distance(edge: np.ndarray) -> np.ndarray:
            """(views, 3): the cross product of a point relative to the source with an edge, on (1, x, y)."""
            constant = start[:, 0, 1] * edge[:, 0] - start[:, 0, 0] * edge[:, 1]
            return np.stack([constant, edge[:, 1], -edge[:, 0]], 1)

        # point - source = s · (step of column 0 + column · pixel): cross product with each of the two
        pixel = u[:, :2] / spacing[:2]
        corner = (detector - source)[:, :2] / spacing[:2] - (columns - 1) / 2 * pixel
        area = corner[:, 0] * pixel[:, 1] - corner[:, 1] * pixel[:, 0]
        shadow = np.stack([-distance(corner), distance(pixel)], 1) / area[:, None, None]

        pick = axis[..., None].astype(np.int64)
        start = np.broadcast_to(start, step.shape)
        start_along, step_along = (np.take_along_axis(a, pick, 2)[..., 0] for a in (start, step))
        start_across, step_across = (np.take_along_axis(a, 1 - pick, 2)[..., 0] for a in (start, step))
        slope = step_across / step_along

        row_first = detector[:, 2] - source[:, 2] - v[:, 2] * (rows - 1) / 2
        ground = np.linalg.norm(step * spacing[:2], axis=2)
        per_plane = 1 / np.abs(step_along)
        return cls(
            geometry=geometry,
            grid=grid,
            axis=axis,
            lateral=np.stack([start_across - slope * start_along, slope], 2),
            reach=np.stack([-start_along / step_along, 1 / step_along], 2),
            height=np.stack([(source[:, 2] - first[2]), row_first, v[:, 2]], 1) / spacing[2],
            path=np.stack(
                [
                    (ground * per_plane) ** 2,
                    row_first[:, None] * per_plane,
                    v[:, 2, None] * per_plane,
                ],
                2,
            ),
            shadow=shadow,
        )


def _check_rays(geometry: ConeBeamGeometry, grid: Grid) -> None:
    """Raise an `InputError` where Joseph's method has no planes to step along; both in the grid's axes."""
    center, half = np.asarray(grid.center), np.multiply(grid.shape, grid.spacing) / 2
    ahead = np.cross(geometry.u, geometry.v)[:, :2]
    distance = ((geometry.detector - geometry.source)[:, :2] * ahead).sum(1) / np.linalg.norm(ahead, axis=1)
    ahead = ahead / np.linalg.norm(ahead, axis=1, keepdims=True) * np.sign(distance)[:, None]
    depth = ((center - geometry.source)[:, :2] * ahead).sum(1) - np.abs(ahead) @ half[:2]
    if depth.min() <= 0:
        raise InputError(
            f"grid: found a volume that reaches the source: its nearest corner is {depth.min():.1f} mm in front of "
            f"it in view {depth.argmin()}, expected more than 0 in every view"
        )
    # The steps are along x or y, never z: no ray through the volume may climb more than it advances.
    middle = (geometry.detector - geometry.source)[:, 2]
    climb = np.abs(middle) + np.abs(geometry.v[:, 2]) * geometry.detector_shape[0] / 2
    if geometry.is_curved:
        columns = geometry.detector_shape[1]
        places = geometry.column_places(np.arange(columns) - (columns - 1) / 2) - geometry.source[:, None]
        distance = np.linalg.norm(places[..., :2], axis=2).min(1)
    beside = np.maximum(np.abs(center - geometry.source)[:, :2] - half[:2], 0)
    height = np.abs(center - geometry.source)[:, 2] + half[2]
    slope = np.minimum(climb / np.abs(distance), height / np.linalg.norm(beside, axis=1))
    if slope.max() >= math.sqrt(0.5):  # at 45 degrees in the plane the larger component is this share of the advance
        raise InputError(
            f"geometry: found rays that climb up to {math.degrees(math.atan(slope.max())):.1f} degrees from the "
            f"source's plane, in view {slope.argmax()}, expected less than 35.2 (a lower detector or volume, or a more "
            "distant source)"
        )
