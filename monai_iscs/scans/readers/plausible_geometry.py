# SPDX-License-Identifier: Apache-2.0
"""Geometries that can't be any scanner's, told before anything is computed with them."""

from __future__ import annotations

import math

import numpy as np

from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.operators.circle import ROUND, rotation_axis, seen_arc

WIDEST = 75.0  # degrees between a ray and the middle one
NARROWEST = 1e-3  # half a detector's diagonal as a share of its distance; below, one of the two is in another unit
WIDEST_FAN = 45.0  # degrees from the ray through the axis: beyond, the square around what is seen holds the source
STILL = 1e-6  # of the source's distance from the detector: it doesn't move by less
SHORTEST_ARC = 10.0  # degrees: even tomosynthesis covers more, and a turn in radians is 6.3


def check_geometry(scan: ConeBeamGeometry, *, parallel: bool) -> list[str]:
    """Look for lengths, places and angles that must be something else.

    Args:
        scan: the axis of its orbit is along z.
        parallel: whether a far source stands for parallel rays.

    Returns:
        What is strange, but possible.

    Raises:
        InputError: what is not: lengths in different units, views from one and the same place, a rotation axis that is
            not between source and detector or that no view sees, or a volume around it that would hold the source.
    """
    _check_lengths(scan, NARROWEST * (not parallel))
    if scan.views == 1:
        return []
    distance = np.linalg.norm(scan.detector - scan.source, axis=1)
    moved = max(float(np.ptp(place, axis=0).max()) for place in (scan.source, scan.detector))
    if moved <= STILL * distance.mean():
        raise InputError(f"found {scan.views} views from one and the same place, expected a source that moves")
    axis = rotation_axis(scan, (0.0, 0.0))
    away = scan.source[:, :2] - axis
    radius = np.linalg.norm(away, axis=1)
    if np.ptp(radius) > ROUND * radius.mean():
        return []  # not about one axis
    _check_axis(scan, axis, radius)
    arc = seen_arc(np.arctan2(away[:, 1], away[:, 0]))
    if arc >= SHORTEST_ARC:
        return []
    return [f"found views from an arc of {arc:.2g} degrees, expected {SHORTEST_ARC:g} or more: angles in radians?"]


def _check_axis(scan: ConeBeamGeometry, axis: np.ndarray, radius: np.ndarray) -> None:
    """Raise an `InputError` unless the axis is between source and detector, and on the detector in some view."""
    point = np.column_stack([np.broadcast_to(axis, (scan.views, 2)), scan.source[:, 2]])
    depth = ((point - scan.source) * scan.normals).sum(1) / scan.plane_depth  # 0 at the source, 1 in the plane
    if (outside := (depth <= 0) | (depth >= 1)).any():
        view = int(outside.argmax())
        length = abs(scan.plane_depth[view]) / np.linalg.norm(scan.normals[view])
        raise InputError(
            f"found a source {radius[view]:.4g} mm from the rotation axis and {length:.4g} mm from the detector in "
            f"view {view}, expected the axis between them (lengths swapped, or to the detector from the axis?)"
        )
    rows, columns = scan.detector_shape
    edges = scan.column_places([-columns / 2, columns / 2]).swapaxes(0, 1) - scan.source
    corners = np.concatenate([edges - rows / 2 * scan.v, edges + rows / 2 * scan.v])
    side = (corners * np.cross(point - scan.source, [0.0, 0.0, 1.0])).sum(2)  # of the plane of source and axis
    if (np.abs(np.sign(side).sum(0)) == len(corners)).all():
        hit = scan.source + (point - scan.source) / depth[:, None] - scan.detector
        steps = np.linalg.pinv(np.stack([scan.u, scan.v], 2))
        column = float(np.median((steps @ hit[..., None])[:, 0])) + (columns - 1) / 2
        raise InputError(
            f"found the rotation axis at detector column {column:.1f}, expected -0.5 to {columns - 0.5}: no view sees "
            "it (rows and columns swapped, or an offset in another unit?)"
        )
    across = np.abs(side) / np.linalg.norm(corners[..., :2], axis=2) / radius  # sines, from above
    if (angle := math.degrees(math.asin(min(across.max(), 1.0)))) > WIDEST_FAN:
        raise InputError(
            f"found rays of up to {angle:.1f} degrees from the one through the rotation axis, expected at most "
            f"{WIDEST_FAN:g} (pixels and distances in different units?)"
        )


def _check_lengths(scan: ConeBeamGeometry, narrowest: float) -> None:
    """Raise an `InputError` where lengths must be in different units."""
    rows, columns = scan.detector_shape
    corner = np.hypot(
        (rows - 1) / 2 * np.linalg.norm(scan.v, axis=1), (columns - 1) / 2 * np.linalg.norm(scan.u, axis=1)
    )
    distance = np.abs(scan.plane_depth) / np.linalg.norm(scan.normals, axis=1)
    ratio = corner / distance
    angle = np.degrees(np.arctan(ratio))
    found = f"a detector whose corner is {corner[0]:.4g} mm from its middle, {distance[0]:.4g} mm from the source"
    if angle.max() > WIDEST:
        raise InputError(
            f"found {found}: rays of {angle.max():.1f} degrees, expected at most {WIDEST:g} (another unit?)"
        )
    if rows * columns > 1 and ratio.min() < narrowest:
        raise InputError(f"found {found}: rays of {angle.min():.2g} degrees, expected a wider fan (another unit?)")
