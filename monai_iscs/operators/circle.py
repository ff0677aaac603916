# SPDX-License-Identifier: Apache-2.0
"""The circle that the views of a scan lie on, computed from their positions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from monai_iscs.errors import InputError
from monai_iscs.operators.geometry import ConeBeamGeometry
from monai_iscs.operators.vectors import VECTORS

NORMALS = 0.05  # weight of a detector's normal against its source: detectors may be tilted, so the orbit decides
UNKNOWN = 1e-3  # of the largest singular value: what the views determine less is taken from the given point
EXACT = 1e-6  # of the source's distance from the detector: a view off the circle by less than this lies on it


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


class Circle(NamedTuple):
    """A scan as the arguments of `ConeBeamGeometry.circular`."""

    center: tuple[float, float, float]
    source_to_isocenter: float
    source_to_detector: float
    angles: np.ndarray
    detector_pitch: tuple[float, float]
    detector_offset: tuple[float, float]

    @classmethod
    def of(cls, scan: ConeBeamGeometry, near: Sequence[float], *, backend: str) -> Circle:
        """The circle of a scan.

        Args:
            scan: seen in the grid's axes.
            near: a point (x, y, z); the axis is taken close to it where the views do not determine it.
            backend: the one that needs the circle, for the message.

        Raises:
            InputError: views that are not on a circle about z, or whose detectors do not all face its centre.
        """
        x, y = rotation_axis(scan, near)
        center = np.array([x, y, scan.source[:, 2].mean()])
        source, detector = scan.source - center, scan.detector - center
        angles = np.arctan2(source[:, 1], source[:, 0])
        outward = np.stack([np.cos(angles), np.sin(angles), np.zeros_like(angles)], 1)
        along_u = np.stack([-outward[:, 1], outward[:, 0], np.zeros_like(angles)], 1)
        circle = cls(
            center=tuple(center.tolist()),
            source_to_isocenter=float((source * outward).sum(1).mean()),
            source_to_detector=float(((source - detector) * outward).sum(1).mean()),
            angles=np.mod(angles + EXACT, 2 * math.pi) - EXACT,  # an angle of 0 up to rounding stays 0
            detector_pitch=tuple(float(np.linalg.norm(step, axis=1).mean()) for step in (scan.v, scan.u)),
            detector_offset=(float(detector[:, 2].mean()), float((detector * along_u).sum(1).mean())),
        )
        if not 0 < circle.source_to_isocenter < circle.source_to_detector:
            raise InputError(
                f"geometry: found views on no circle about the volume, expected a circle for backend {backend!r}"
            )
        ideal = ConeBeamGeometry.circular(**circle._asdict(), detector_shape=scan.detector_shape)
        off = max(np.abs(getattr(scan, name) - getattr(ideal, name)).max() for name in VECTORS)
        if off > EXACT * circle.source_to_detector:
            raise InputError(
                f"geometry: found views that are up to {off:.3g} mm off a circle about the z axis with a detector that "
                f"faces its centre, expected such a circle for backend {backend!r}"
            )
        return circle
