# SPDX-License-Identifier: Apache-2.0
"""The circle that the views of a scan lie on, computed from their positions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from monai_iscs.errors import InputError
from monai_iscs.operators.geometry import ConeBeamGeometry

NORMALS = 0.05  # weight of a detector's normal against its source: detectors may be tilted, so the orbit decides
LEVEL = 0.05  # of the radius: the source may move by so much along z, as scanners that flex or lean by a degree do
ROUND = 0.1  # of the radius: a source may be so far off a circle
FLYING = 0.05  # of the radius: a source may move by so much along z beside its helix
FEWEST = 6.0  # views a turn, to tell in which sense a helix turns
STEEPEST = 2.0  # rise of a turn, in heights of the detector at the axis: half of the angles then see a place
ASIDE = 0.8  # of the detector's longer side of the axis: the shorter one at least
SAME = 1e-9  # radians
UNKNOWN = 1e-3  # of the largest singular value: what the views determine less is taken from the given point


def rotation_axis(scan: ConeBeamGeometry, near: Sequence[float]) -> np.ndarray:
    """(x, y) of the axis, along z, around which the source moves.

    It is at the same distance from all sources. Where they do not determine it, as with a single view, it lies on the
    detectors' normals through them, and then as close as possible to `near`.

    Args:
        scan: seen in the grid's axes.
        near: a point (x, y), such as the middle of the volume.
    """
    source = scan.source[:, :2] - near[:2]
    away = np.cross(scan.u, scan.v)[:, :2]
    across = np.stack([-away[:, 1], away[:, 0]], 1) / np.linalg.norm(away, axis=1, keepdims=True)
    squares = (source**2).sum(1)
    size = math.sqrt(squares.mean()) or 1.0
    # |source - axis|² is the same for all; (source - axis) is along the normal
    rows = np.concatenate([2 * (source - source.mean(0)) / size, NORMALS * across])
    right = np.concatenate([(squares - squares.mean()) / size, NORMALS * (across * source).sum(1)])
    return np.asarray(near[:2]) + np.linalg.lstsq(rows, right, rcond=UNKNOWN)[0]


def seen_arc(angles: np.ndarray) -> float:
    """Degrees from the first to the last of some views, past all of them and a step further: all but the widest gap.

    Args:
        angles: of the source about the axis, radians, in any order.

    Returns:
        0 for a single view or none, up to 360.
    """
    sorted_ = np.sort(np.mod(angles, 2 * math.pi))
    if len(sorted_) < 2:
        return 0.0
    gaps = np.diff(sorted_, append=sorted_[0] + 2 * math.pi)
    others = np.delete(gaps, gaps.argmax())
    apart = others[others > SAME]  # several turns may have views at the same angles
    return math.degrees(2 * math.pi - gaps.max() + (np.median(apart) if len(apart) else 0.0))


def off_circle(scan: ConeBeamGeometry, near: Sequence[float]) -> str | None:
    """In words, why the source's path is no circle or arc about an axis along z, as FDK needs it; None: it is one.

    Args:
        scan: seen in the grid's axes.
        near: a point (x, y), such as the middle of the volume.
    """
    radius = np.linalg.norm(scan.source[:, :2] - rotation_axis(scan, near), axis=1)
    height = scan.source[:, 2]
    if (travel := np.ptp(height)) > LEVEL * radius.mean():
        return (
            f"a source that moves {travel:.1f} mm along z, between views {height.argmin()} and {height.argmax()}, "
            f"{radius.mean():.1f} mm from the axis"
        )
    off = np.abs(radius - radius.mean())
    if off.max() > ROUND * radius.mean():
        view = int(off.argmax())
        return f"a source {radius[view]:.1f} mm from the axis in view {view}, and {radius.mean():.1f} mm on average"
    return None


def check_circle(scan: ConeBeamGeometry, near: Sequence[float]) -> None:
    """Raise an `InputError` unless the source's path is one that FDK takes; see `off_circle`."""
    if (found := off_circle(scan, near)) is not None:
        raise InputError(f"fdk: found {found}, expected a circle or an arc (sirt and admm_tv take any path)")


def views_a_turn(scan: ConeBeamGeometry, near: Sequence[float]) -> float:
    """By the median step of the source's angle about the axis, from view to view; 1 where there is a single view.

    Args:
        scan: seen in the grid's axes; the views in their order.
        near: a point (x, y), such as the middle of the volume.
    """
    source = scan.source[:, :2] - rotation_axis(scan, near)
    step = np.abs(np.diff(np.unwrap(np.arctan2(source[:, 1], source[:, 0]))))
    return 2 * math.pi / max(float(np.median(step)), SAME) if len(step) else 1.0


def off_helix(scan: ConeBeamGeometry, near: Sequence[float]) -> str | None:
    """In words, why the source's path is no helix or full circle about an axis along z; None: it is one.

    A helix has at least one turn, whose rise is at most two heights of the detector on the axis, and a detector that
    reaches about as far to both sides of the axis.

    Args:
        scan: seen in the grid's axes; the views in their order.
        near: a point (x, y), such as the middle of the volume.
    """
    source = scan.source[:, :2] - rotation_axis(scan, near)
    radius = np.linalg.norm(source, axis=1)
    off = np.abs(radius - radius.mean())
    if off.max() > ROUND * radius.mean():
        view = int(off.argmax())
        return f"a source {radius[view]:.1f} mm from the axis in view {view}, and {radius.mean():.1f} mm on average"
    angle, views = np.unwrap(np.arctan2(source[:, 1], source[:, 0])), views_a_turn(scan, near)
    if views < FEWEST:
        return f"{views:.3g} views a turn"
    if (turns := abs(angle[-1] - angle[0]) / (2 * math.pi) + 1 / views) < 1 - 0.5 / views:
        return f"{turns:.2g} turns"
    height = scan.source[:, 2]
    rise, start = np.polyfit(angle, height, 1)
    off = np.abs(height - start - rise * angle)
    if off.max() > FLYING * radius.mean():
        return f"a source {off.max():.1f} mm off a helix along z, in view {off.argmax()}"
    columns = scan.detector_shape[1] / 2
    ray = (scan.column_places([-columns, 0, columns]) - scan.source[:, None])[..., :2]
    length = np.linalg.norm(ray, axis=2)
    seen = float((scan.detector_shape[0] * np.abs(scan.v[:, 2]) * radius / length[:, 1]).mean())
    if (rise := 2 * math.pi * abs(rise)) > STEEPEST * seen:
        return f"a source that rises by {rise:.1f} mm in a turn, and a detector that sees {seen:.1f} mm of the axis"
    across = ((ray[..., 0] * source[:, None, 1] - ray[..., 1] * source[:, None, 0]) / length).mean(0)
    narrow, wide = sorted(across[[0, 2]] * np.sign(across[2] - across[0]) * [-1, 1])
    if narrow < ASIDE * wide:
        return f"a detector that reaches {narrow:.1f} mm beyond the axis on one side and {wide:.1f} mm on the other"
    return None


def check_helix(scan: ConeBeamGeometry, near: Sequence[float]) -> None:
    """Raise an `InputError` unless the scan is a helix or full circle as `off_helix` explains it."""
    if (found := off_helix(scan, near)) is not None:
        raise InputError(
            f"helical_fbp: found {found}, expected a turn or more on a helix or circle (sirt and admm_tv take any path)"
        )
