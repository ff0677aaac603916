# SPDX-License-Identifier: Apache-2.0
"""The circle or helix that the views of a scan lie on, computed from their positions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from monai_iscs.errors import InputError
from monai_iscs.operators.circle import rotation_axis
from monai_iscs.operators.geometry import ConeBeamGeometry
from monai_iscs.operators.vectors import VECTORS

EXACT = 1e-6  # of the source's distance from the detector: a view off the helix by less than this lies on it


class Helix(NamedTuple):
    """A scan on a helix about an axis along z, with a detector that faces the axis; a circle where `rise` is 0.

    Attributes:
        center: (x, y) of the axis and the source's z at the angle 0, mm.
        rise: how far source and detector move along z in a turn, mm.
        source_to_isocenter: radius of the source's path, mm.
        source_to_detector: mm.
        angles: of the views, radians; within one turn on a circle.
        detector_pitch: pixel size (along v, along u), mm.
        detector_offset: shift of the detector's centre (along v, along u), mm.
    """

    center: tuple[float, float, float]
    rise: float
    source_to_isocenter: float
    source_to_detector: float
    angles: np.ndarray
    detector_pitch: tuple[float, float]
    detector_offset: tuple[float, float]

    @classmethod
    def of(cls, scan: ConeBeamGeometry, near: Sequence[float]) -> Helix:
        """The helix of a scan.

        Args:
            scan: seen in the grid's axes.
            near: a point (x, y, z); the axis is taken close to it where the views do not determine it.

        Raises:
            InputError: views that are not on a helix about z, or whose detectors do not all face its axis.
        """
        axis = np.append(rotation_axis(scan, near), 0.0)
        source, detector = scan.source - axis, scan.detector - axis
        angles = np.arctan2(source[:, 1], source[:, 0])
        outward = np.stack([np.cos(angles), np.sin(angles), np.zeros_like(angles)], 1)
        along_u = np.stack([-outward[:, 1], outward[:, 0], np.zeros_like(angles)], 1)
        radius = float((source * outward).sum(1).mean())
        distance = float(((source - detector) * outward).sum(1).mean())
        if not 0 < radius < distance:
            raise InputError("geometry: found views on no circle about the volume, expected a circle or a helix")
        if np.ptp(source[:, 2]) > EXACT * distance:
            angles = np.unwrap(angles)
            rise, start = np.polyfit(angles / (2 * math.pi), source[:, 2], 1).tolist()
        else:
            angles = np.mod(angles + EXACT, 2 * math.pi) - EXACT  # an angle of 0 up to rounding stays 0
            rise, start = 0.0, float(source[:, 2].mean())
        helix = cls(
            center=(float(axis[0]), float(axis[1]), start),
            rise=rise,
            source_to_isocenter=radius,
            source_to_detector=distance,
            angles=angles,
            detector_pitch=tuple(float(np.linalg.norm(step, axis=1).mean()) for step in (scan.v, scan.u)),
            detector_offset=(
                float((detector - source)[:, 2].mean()),
                float((detector * along_u).sum(1).mean()),
            ),
        )
        helix._check(scan)
        return helix

    def _check(self, scan: ConeBeamGeometry) -> None:
        """Refuse a scan that differs from this helix."""
        circle = self._asdict()
        up = circle.pop("rise") * self.angles[:, None] / (2 * math.pi) * [0, 0, 1]
        ideal = ConeBeamGeometry.circular(**circle, detector_shape=scan.detector_shape)
        ideal = ideal.moved(up)
        off = np.stack([np.abs(getattr(scan, name) - getattr(ideal, name)).max(1) for name in VECTORS])
        if off.max() > EXACT * self.source_to_detector:
            vector, view = np.unravel_index(off.argmax(), off.shape)
            raise InputError(
                f"geometry: found {VECTORS[vector]} of view {view} {off.max():.3g} mm off a circle or helix about "
                "the z axis with a detector that faces the axis, expected such a path"
            )
