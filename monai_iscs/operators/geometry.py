# SPDX-License-Identifier: Apache-2.0
"""Where the source and the detector of a cone-beam scan are in each view."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators.field import missed_fraction

VECTORS = ("source", "detector", "u", "v")
TILT = 1e-6  # a detector is upright if unit steps along u and v leave the plane or the axis by at most this
SHEAR = 1e-4  # largest |cosine| between two axes of a grid


@dataclass(frozen=True, kw_only=True, eq=False)
class ConeBeamGeometry:
    """A point source and a flat detector, at any place in each view; all lengths in mm, in one frame.

    The frame is the one that a grid's affine maps to. Pixel (row k, column l) of a detector with R rows and C columns
    has its centre at `detector + (k − (R − 1) / 2) · v + (l − (C − 1) / 2) · u`.

    Attributes:
        source: (views, 3), float64.
        detector: the detector's centre, (views, 3).
        u: from one column of the detector to the next, (views, 3).
        v: from one row to the next, (views, 3).
        detector_shape: pixels (rows along v, columns along u).

    Raises:
        InputError: arrays of other shapes, values that are not finite, or a detector that has no area or whose plane
            contains the source.
    """

    source: np.ndarray
    detector: np.ndarray
    u: np.ndarray
    v: np.ndarray
    detector_shape: tuple[int, int]

    def __post_init__(self) -> None:
        views = None
        for name in VECTORS:
            try:
                array = np.array(getattr(self, name), dtype=np.float64)
            except (TypeError, ValueError):
                raise InputError(f"{name}: found {getattr(self, name)!r:.80}, expected numbers (views, 3)") from None
            views = len(array) if views is None and array.ndim else views
            if array.shape != (views, 3) or not views:
                raise InputError(f"{name}: found shape {array.shape}, expected ({views or 'views'}, 3)")
            if not np.isfinite(array).all():
                raise InputError(f"{name}: found NaN or infinite values, expected finite mm")
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        object.__setattr__(self, "detector_shape", _numbers("detector_shape", self.detector_shape, 2, whole=True))
        area = np.linalg.norm(self._normals, axis=1)
        if not (area > 0).all():
            raise InputError("u, v: found a detector without area, expected steps in two directions")
        if not (np.abs(self._plane_depth) > 1e-9 * area * np.abs(self.detector - self.source).max()).all():
            raise InputError("source: found one in the detector's plane, expected it outside that plane")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ConeBeamGeometry):
            return NotImplemented
        same = (np.array_equal(getattr(self, name), getattr(other, name)) for name in VECTORS)
        return self.detector_shape == other.detector_shape and all(same)

    def __hash__(self) -> int:
        return hash((self.detector_shape, *(getattr(self, name).tobytes() for name in VECTORS)))

    @classmethod
    def circular(
        cls,
        *,
        source_to_isocenter: float,
        source_to_detector: float,
        detector_shape: Sequence[int],
        detector_pitch: Sequence[float],
        views: int | None = None,
        arc: float = 360.0,
        first_angle: float = 0.0,
        clockwise: bool = False,
        angles: Sequence[float] | None = None,
        detector_offset: Sequence[float] = (0.0, 0.0),
        center: Sequence[float] = (0.0, 0.0, 0.0),
    ) -> ConeBeamGeometry:
        """A source on a circle about the isocentre, and a detector that faces it.

        In the view at angle t the source is at center + source_to_isocenter · (cos t, sin t, 0), u is along
        (−sin t, cos t, 0) and v along z.

        Args:
            source_to_isocenter: radius of the source's circle, mm.
            source_to_detector: distance of the source to the detector's plane, mm.
            detector_shape: pixels (rows along v, columns along u).
            detector_pitch: pixel size (along v, along u), mm.
            views: number of equally spaced views; either this or `angles`.
            arc: degrees, above 0 and at most 360; divided into `views` equal steps, so that the first angle is a view
                and the arc's end is not.
            first_angle: degrees.
            clockwise: whether the angle decreases (seen from +z).
            angles: of the views, radians; replace the four arguments above.
            detector_offset: shift of the detector's centre (along v, along u), mm; half-fan scans shift it along u.
            center: the isocentre, mm.

        Raises:
            InputError: an argument out of range.
        """
        if (views is None) == (angles is None):
            raise InputError(f"views: found {views} and angles {angles!r:.40}, expected one of the two")
        t = _even(views, arc, first_angle, clockwise) if angles is None else np.asarray(_numbers("angles", angles))
        if not 0 < source_to_isocenter < math.inf:
            raise InputError(f"source_to_isocenter: found {source_to_isocenter} mm, expected a positive length")
        if not source_to_isocenter < source_to_detector < math.inf:
            raise InputError(
                f"source_to_detector: found {source_to_detector} mm, expected more than source_to_isocenter "
                f"({source_to_isocenter} mm)"
            )
        pitch_v, pitch_u = _numbers("detector_pitch", detector_pitch, 2, positive=True)
        offset_v, offset_u = _numbers("detector_offset", detector_offset, 2)
        middle = np.asarray(_numbers("center", center, 3))
        zero, one = np.zeros_like(t), np.ones_like(t)
        outward = np.stack([np.cos(t), np.sin(t), zero], 1)
        along_u = np.stack([-np.sin(t), np.cos(t), zero], 1)
        along_v = np.stack([zero, zero, one], 1)
        behind = (source_to_isocenter - source_to_detector) * outward
        return cls(
            source=middle + source_to_isocenter * outward,
            detector=middle + (behind + offset_u * along_u + offset_v * along_v),
            u=pitch_u * along_u,
            v=pitch_v * along_v,
            detector_shape=detector_shape,
        )

    @classmethod
    def paper(cls, grid: Grid, *, views: int = 30, arc: float = 360.0) -> ConeBeamGeometry:
        """The paper's scanner (§4.1): source to isocentre 700 mm, to detector 1,200 mm, a 1,024 mm square detector.

        The detector has twice as many pixels a side as the volume has voxels in the plane: 512 of 2 mm for 256 × 256.
        The circle is about the grid's centre, in the plane of the grid's first two axes.

        Args:
            grid: of the volume.
            views: number of views.
            arc: degrees.
        """
        pixels = 2 * max(grid.shape[:2])
        local = cls.circular(
            views=views,
            arc=arc,
            source_to_isocenter=700.0,
            source_to_detector=1200.0,
            detector_shape=(pixels, pixels),
            detector_pitch=(1024.0 / pixels, 1024.0 / pixels),
            center=grid.straight.center,
        )
        return local._turned(grid.axes.T)

    @property
    def views(self) -> int:
        """Number of views."""
        return len(self.source)

    @property
    def projection_shape(self) -> tuple[int, int, int]:
        """(views, v, u)."""
        return (self.views, *self.detector_shape)

    def part(self, start: int, stop: int) -> ConeBeamGeometry:
        """The views from `start` up to, but not including, `stop`."""
        return replace(self, **{name: getattr(self, name)[start:stop] for name in VECTORS})

    def along(self, grid: Grid) -> ConeBeamGeometry:
        """The same scan in the frame of `grid.straight`, whose x, y, z are the grid's axes.

        Raises:
            InputError: a grid whose axes are not at right angles.
        """
        cosines = np.abs(grid.axes.T @ grid.axes - np.eye(3))
        if cosines.max() > SHEAR:
            raise InputError(f"grid: found axes whose cosine is {cosines.max():.4g}, expected right angles")
        return self._turned(grid.axes)

    def check_upright(self) -> None:
        """Raise an `InputError` unless the detector stands upright: u in the x-y plane and v along z."""
        tilts = [
            np.linalg.norm(step[:, axes], axis=1) / np.linalg.norm(step, axis=1)
            for step, axes in ((self.u, [2]), (self.v, [0, 1]))
        ]
        if np.max(tilts) > TILT:
            raise InputError(
                f"geometry: found a detector that is tilted by up to {math.degrees(math.asin(np.max(tilts))):.3g} "
                "degrees, expected u in the plane of the grid's x and y, and v along its z"
            )

    def resolution(self, grid: Grid) -> tuple[float, float, float]:
        """Distance of neighbouring rays at the grid's centre along x, y, z, in voxels; the mean over the views."""
        depth = ((np.asarray(grid.center) - self.source) * self._normals).sum(1) / self._plane_depth
        rows, columns = (float(np.mean(depth * np.linalg.norm(step, axis=1))) for step in (self.v, self.u))
        x, y, z = grid.spacing
        return columns / x, columns / y, rows / z

    def truncated_fraction(self, volume: torch.Tensor, grid: Grid, *, air: float = 0.0) -> float:
        """How much of the volume the detector misses in its worst view.

        A half-fan detector misses a part in every view on purpose; it sees that part from the other side.

        Args:
            volume: proportional to attenuation, (..., X, Y, Z).
            grid: of the volume.
            air: values below it count as 0.

        Returns:
            The largest share, over the views, of the volume's attenuation that projects outside the detector, 0 to 1.

        Raises:
            InputError: another shape than the grid's, or a tilted detector.
        """
        if tuple(volume.shape[-3:]) != grid.shape:
            raise InputError(f"volume: found shape {tuple(volume.shape)}, expected it to end in {grid.shape}")
        scan, grid = self.along(grid), grid.straight
        scan.check_upright()
        return missed_fraction(scan, volume, grid, air)

    def as_dict(self) -> dict[str, Any]:
        """Lists of numbers that JSON keeps exactly."""
        arrays = {name: getattr(self, name).tolist() for name in VECTORS}
        return {**arrays, "detector_shape": list(self.detector_shape)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ConeBeamGeometry:
        """Undo `as_dict`.

        Raises:
            InputError: other entries than those, or values that make no valid geometry.
        """
        if set(values) != {*VECTORS, "detector_shape"}:
            raise InputError(f"geometry: found {sorted(values)}, expected {', '.join(VECTORS)} and detector_shape")
        return cls(**values)

    @property
    def _normals(self) -> np.ndarray:
        """(views, 3), not of unit length."""
        return np.cross(self.u, self.v)

    @property
    def _plane_depth(self) -> np.ndarray:
        """(views,), distance of the detector's plane from the source along `_normals`, in units of their lengths."""
        return ((self.detector - self.source) * self._normals).sum(1)

    def _turned(self, matrix: np.ndarray) -> ConeBeamGeometry:
        return replace(self, **{name: getattr(self, name) @ matrix for name in VECTORS})


def _even(views: int, arc: float, first_angle: float, clockwise: bool) -> np.ndarray:
    """Equally spaced angles, radians."""
    if isinstance(views, bool) or int(views) != views or views < 1:
        raise InputError(f"views: found {views}, expected a whole number of at least 1")
    if not 0 < arc <= 360:
        raise InputError(f"arc: found {arc} degrees, expected more than 0 and at most 360")
    if not math.isfinite(first_angle):
        raise InputError(f"first_angle: found {first_angle}, expected finite degrees")
    step = -arc / views if clockwise else arc / views
    return np.array([math.radians(first_angle + step * view) for view in range(int(views))])


def _numbers(name: str, value: Any, count: int = 0, *, whole: bool = False, positive: bool = False) -> tuple:
    """`count` finite numbers (0: at least one) as a tuple."""
    found = InputError(
        f"{name}: found {value!r:.80}, expected {count or 'at least one'} finite {'positive ' * (positive or whole)}"
        f"{'whole ' * whole}number{'s' * (count != 1)}"
    )
    try:
        numbers = tuple(float(item) for item in value)
    except (TypeError, ValueError):
        raise found from None
    bad = not all(map(math.isfinite, numbers)) or (whole and any(item != int(item) for item in numbers))
    if bad or not numbers or (count and len(numbers) != count) or ((positive or whole) and min(numbers) <= 0):
        raise found
    return tuple(map(int, numbers)) if whole else numbers
