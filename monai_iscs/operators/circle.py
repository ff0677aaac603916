# SPDX-License-Identifier: Apache-2.0
"""The circle that the views of a scan lie on, computed from their positions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from monai_iscs.operators.geometry import ConeBeamGeometry

NORMALS = 0.05  # weight of a detector's normal against its source: detectors may be tilted, so the orbit decides
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
