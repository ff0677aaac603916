# SPDX-License-Identifier: Apache-2.0
"""The geometry of a circular cone-beam scan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from monai_iscs.errors import InputError


class ViewVectors(NamedTuple):
    """Where source and detector are in each view, mm, float64, (views, 3) each."""

    source: np.ndarray
    detector: np.ndarray
    """The detector's centre."""
    u: np.ndarray
    """From one detector column to the next."""
    v: np.ndarray
    """From one detector row to the next."""


@dataclass(frozen=True, kw_only=True)
class ConeBeamGeometry:
    """A flat detector and a point source on a circle around the volume; all lengths in mm.

    Frame: x, y, z are the volume's axes and the origin is the isocentre; in the view at angle t the source is at
    source_to_isocenter · (cos t, sin t, 0), u = (−sin t, cos t, 0) and v = z.

    Attributes:
        volume_shape: voxels (X, Y, Z).
        voxel_spacing: voxel size along x, y, z.
        source_to_isocenter: radius of the source's circle.
        source_to_detector: distance of the source to the detector's plane.
        angles: of the views, radians.
        detector_shape: pixels (rows along v, columns along u).
        detector_pitch: pixel size (along v, along u).
        detector_offset: shift of the detector's centre (along v, along u); half-fan scans shift it along u.
        volume_offset: position of the volume's centre (x, y, z).

    Raises:
        InputError: if a field is out of range, or the source would meet the volume, or a ray would be steeper than 45°.
    """

    volume_shape: tuple[int, int, int]
    voxel_spacing: tuple[float, float, float]
    source_to_isocenter: float
    source_to_detector: float
    angles: tuple[float, ...]
    detector_shape: tuple[int, int]
    detector_pitch: tuple[float, float]
    detector_offset: tuple[float, float] = (0.0, 0.0)
    volume_offset: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        for name, length, kind in _FIELDS:
            value = getattr(self, name)
            try:
                converted = tuple(kind(item) for item in value)
            except (TypeError, ValueError):
                raise InputError(f"{name} is {value!r}, expected {length or 'some'} numbers") from None
            if length and len(converted) != length:
                raise InputError(f"{name} is {value!r}, expected {length} numbers")
            if not all(math.isfinite(item) for item in converted):
                raise InputError(f"{name} is {value!r}, expected finite numbers")
            object.__setattr__(self, name, converted)
        for name in ("volume_shape", "voxel_spacing", "detector_shape", "detector_pitch"):
            if min(getattr(self, name)) <= 0:
                raise InputError(f"{name} is {getattr(self, name)}, expected positive numbers")
        if not self.angles:
            raise InputError("angles is empty, expected at least 1 view")
        if not 0 < self.source_to_isocenter < math.inf:
            raise InputError(f"source_to_isocenter is {self.source_to_isocenter} mm, expected a positive length")
        if not self.source_to_isocenter < self.source_to_detector < math.inf:
            raise InputError(
                f"source_to_detector is {self.source_to_detector} mm, expected more than source_to_isocenter "
                f"({self.source_to_isocenter} mm)"
            )
        self._check_rays()

    def _check_rays(self) -> None:
        half = np.multiply(self.volume_shape, self.voxel_spacing) / 2
        reach = math.hypot(*(np.abs(self.volume_offset[:2]) + half[:2]))
        if reach >= self.source_to_isocenter:
            raise InputError(
                f"the volume reaches {reach:.1f} mm from the rotation axis and would meet the source, expected less "
                f"than source_to_isocenter ({self.source_to_isocenter} mm)"
            )
        # Joseph's method steps along x or y, never z: no ray through the volume may climb more than it advances.
        height = self.detector_shape[0] * self.detector_pitch[0] / 2 + abs(self.detector_offset[0])
        slope = min(
            height / self.source_to_detector,
            (half[2] + abs(self.volume_offset[2])) / (self.source_to_isocenter - reach),
        )
        if slope >= math.sqrt(0.5):  # at 45 degrees in the plane the larger component is this share of the advance
            raise InputError(
                f"rays climb up to {math.degrees(math.atan(slope)):.1f} degrees from the source's plane, expected "
                "less than 35.2 (a lower detector or volume, or a more distant source)"
            )

    @classmethod
    def circular(
        cls, *, views: int, arc: float = 360.0, first_angle: float = 0.0, clockwise: bool = False, **fields: Any
    ) -> ConeBeamGeometry:
        """Equally spaced views.

        Args:
            views: number of views, at least 1.
            arc: degrees, above 0 and at most 360; divided into `views` equal steps, so that the first angle is a view
                and the arc's end is not.
            first_angle: degrees.
            clockwise: let the angle fall (seen from +z) instead of rise.
            **fields: the other fields of the class.
        """
        if isinstance(views, bool) or int(views) != views or views < 1:
            raise InputError(f"views is {views}, expected a whole number of at least 1")
        if not 0 < arc <= 360:
            raise InputError(f"arc is {arc} degrees, expected more than 0 and at most 360")
        if not math.isfinite(first_angle):
            raise InputError(f"first_angle is {first_angle}, expected finite degrees")
        step = -arc / views if clockwise else arc / views
        angles = tuple(math.radians(first_angle + step * view) for view in range(int(views)))
        return cls(angles=angles, **fields)

    @classmethod
    def paper(
        cls, volume_shape: Sequence[int], voxel_spacing: Sequence[float], *, views: int = 30, arc: float = 360.0
    ) -> ConeBeamGeometry:
        """The paper's scanner (§4.1): source to isocentre 700 mm, to detector 1,200 mm, a 1,024 mm square detector.

        The detector has twice as many pixels a side as the volume has voxels in the plane: 512 of 2 mm for 256 × 256.

        Args:
            volume_shape: voxels (X, Y, Z).
            voxel_spacing: mm.
            views: number of views.
            arc: degrees.
        """
        pixels = 2 * max(int(volume_shape[0]), int(volume_shape[1]), 1)
        return cls.circular(
            views=views,
            arc=arc,
            volume_shape=tuple(volume_shape),
            voxel_spacing=tuple(voxel_spacing),
            source_to_isocenter=700.0,
            source_to_detector=1200.0,
            detector_shape=(pixels, pixels),
            detector_pitch=(1024.0 / pixels, 1024.0 / pixels),
        )

    @property
    def projection_shape(self) -> tuple[int, int, int]:
        """(views, v, u)."""
        return (len(self.angles), *self.detector_shape)

    def view_vectors(self) -> ViewVectors:
        """Source, detector centre and pixel steps of each view: all that backends know of the orbit."""
        t = np.asarray(self.angles, dtype=np.float64)
        zero, one = np.zeros_like(t), np.ones_like(t)
        outward = np.stack([np.cos(t), np.sin(t), zero], 1)
        along_u = np.stack([-np.sin(t), np.cos(t), zero], 1)
        along_v = np.stack([zero, zero, one], 1)
        offset_v, offset_u = self.detector_offset
        return ViewVectors(
            source=self.source_to_isocenter * outward,
            detector=(self.source_to_isocenter - self.source_to_detector) * outward
            + offset_u * along_u
            + offset_v * along_v,
            u=self.detector_pitch[1] * along_u,
            v=self.detector_pitch[0] * along_v,
        )

    @property
    def resolution(self) -> tuple[float, float, float]:
        """Distance of neighbouring rays at the isocentre along x, y, z, in voxels."""
        to_isocenter = self.source_to_isocenter / self.source_to_detector
        rows, columns = (pitch * to_isocenter for pitch in self.detector_pitch)
        x, y, z = self.voxel_spacing
        return columns / x, columns / y, rows / z

    def voxel_centers(self, axis: int) -> np.ndarray:
        """Coordinates of the voxel centres along one axis, mm."""
        count = self.volume_shape[axis]
        return (np.arange(count) - (count - 1) / 2) * self.voxel_spacing[axis] + self.volume_offset[axis]

    def truncated_fraction(self, volume: torch.Tensor, *, air: float = 0.0) -> float:
        """How much of the volume the detector misses in its worst view.

        A half-fan detector misses a part in every view on purpose and sees it from the other side.

        Args:
            volume: proportional to attenuation, (..., X, Y, Z).
            air: values below it count as 0: they attenuate nothing worth a detector.

        Returns:
            The largest share, over the views, of the volume's attenuation that projects outside the detector, 0 to 1.
        """
        if tuple(volume.shape[-3:]) != self.volume_shape:
            raise InputError(f"volume has shape {tuple(volume.shape)}, expected it to end in {self.volume_shape}")
        mass = volume.detach().as_subclass(torch.Tensor).reshape(-1, *self.volume_shape)
        mass = torch.where(mass >= air, mass, 0).sum(0, dtype=torch.float32).cpu().numpy()
        below = np.zeros((*self.volume_shape[:2], self.volume_shape[2] + 1))  # mass below each voxel's lower face
        np.cumsum(mass, axis=2, dtype=np.float64, out=below[..., 1:])
        if not (total := below[..., -1].sum()) > 0:
            return 0.0
        occupied = np.nonzero(below[..., -1])
        below = below[occupied]
        x, y = (self.voxel_centers(axis)[index] for axis, index in zip((0, 1), occupied, strict=True))
        z_first = self.voxel_centers(2)[0] - self.voxel_spacing[2] / 2
        rows, columns = self.detector_shape
        columns_range = np.arange(len(below))
        seen = []
        for source, detector, u, v in zip(*self.view_vectors(), strict=True):
            axis = np.cross(u, v)  # normal to the detector
            depth = (x - source[0]) * axis[0] + (y - source[1]) * axis[1]
            shrink = depth / ((detector - source) @ axis)  # object to detector scale, 1 at the detector
            away = (detector - source)[:2]
            u_index = ((x - source[0]) / shrink - away[0]) * u[0] + ((y - source[1]) / shrink - away[1]) * u[1]
            inside = np.abs(u_index / (u @ u)) <= columns / 2
            middle, half = detector[2] - source[2], abs(v[2]) * rows / 2
            faces = [
                np.clip((source[2] + shrink * z - z_first) / self.voxel_spacing[2], 0, self.volume_shape[2])
                for z in (middle - half, middle + half)
            ]
            low, high = (_interpolate(below, columns_range, face) for face in faces)
            seen.append(((high - low) * inside).sum())
        return float(np.clip(1 - min(seen) / total, 0, 1))


def _interpolate(table: np.ndarray, row: np.ndarray, position: np.ndarray) -> np.ndarray:
    index = np.minimum(position.astype(np.int64), table.shape[1] - 2)
    return table[row, index] + (position - index) * (table[row, index + 1] - table[row, index])


def _whole(value: Any) -> int:
    if isinstance(value, bool) or int(value) != value:
        raise ValueError(value)
    return int(value)


_FIELDS = (
    ("volume_shape", 3, _whole),
    ("voxel_spacing", 3, float),
    ("angles", 0, float),
    ("detector_shape", 2, _whole),
    ("detector_pitch", 2, float),
    ("detector_offset", 2, float),
    ("volume_offset", 3, float),
)
