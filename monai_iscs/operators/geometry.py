# SPDX-License-Identifier: Apache-2.0
"""Where the source and the detector of a cone-beam scan are in each view."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators.field import missed_fraction
from monai_iscs.operators.vectors import ViewVectors, finite_numbers

TILT = 1e-6  # a detector counts as upright where no unit step along u or v leaves its place by more than this
SHEAR = 1e-4  # largest |cosine| between two axes of a grid
RTK_TO_OURS = (2, 0, 1)  # our x, y, z are RTK's z, x, y, whose axis of rotation is y


@dataclass(frozen=True, kw_only=True, eq=False)
class ConeBeamGeometry(ViewVectors):
    """A point source and a flat or curved detector in each view; see `ViewVectors` for what it holds.

    Four ways to make one: `circular`, `from_rtk`, `from_vectors`, and the vectors themselves.
    """

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
        t = (
            _even(views, arc, first_angle, clockwise)
            if angles is None
            else np.asarray(finite_numbers("angles", angles))
        )
        if not 0 < source_to_isocenter < math.inf:
            raise InputError(f"source_to_isocenter: found {source_to_isocenter} mm, expected a positive length")
        if not source_to_isocenter < source_to_detector < math.inf:
            raise InputError(
                f"source_to_detector: found {source_to_detector} mm, expected more than source_to_isocenter "
                f"({source_to_isocenter} mm)"
            )
        pitch_v, pitch_u = finite_numbers("detector_pitch", detector_pitch, 2, positive=True)
        offset_v, offset_u = finite_numbers("detector_offset", detector_offset, 2)
        middle = np.asarray(finite_numbers("center", center, 3))
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
    def from_vectors(cls, vectors: ArrayLike, *, detector_shape: Sequence[int]) -> ConeBeamGeometry:
        """From 12 numbers a view, as ASTRA's `cone_vec` has them.

        Args:
            vectors: (views, 12): source, detector centre, step from column to column (u), from row to row (v), mm.
            detector_shape: pixels (rows along v, columns along u).

        Raises:
            InputError: an array of another shape, or what the class refuses.
        """
        array = np.asarray(vectors)
        if array.ndim != 2 or array.shape[1] != 12 or array.dtype.kind not in "fiu":
            raise InputError(f"vectors: found shape {array.shape} of {array.dtype}, expected numbers (views, 12)")
        source, detector, u, v = np.split(array.astype(np.float64), 4, axis=1)
        return cls(source=source, detector=detector, u=u, v=v, detector_shape=detector_shape)

    @classmethod
    def from_rtk(
        cls,
        *,
        source_to_isocenter: ArrayLike,
        source_to_detector: ArrayLike,
        gantry_angle: ArrayLike,
        projection_offset: tuple[ArrayLike, ArrayLike] = (0.0, 0.0),
        source_offset: tuple[ArrayLike, ArrayLike] = (0.0, 0.0),
        out_of_plane_angle: ArrayLike = 0.0,
        in_plane_angle: ArrayLike = 0.0,
        detector_shape: Sequence[int],
        detector_pitch: Sequence[float],
        detector_origin: Sequence[float] | None = None,
    ) -> ConeBeamGeometry:
        """From the nine parameters of RTK's `ThreeDCircularProjectionGeometry` (Rit et al. 2014).

        RTK turns about its y; our x, y, z are its z, x, y, so that a circle is about z. The isocentre is the origin.

        Args:
            source_to_isocenter: mm; a number, or one for each view, as all that follows but the last three.
            source_to_detector: mm, along the detector's normal.
            gantry_angle: degrees.
            projection_offset: of the detector, along RTK's x and y (u and v), mm.
            source_offset: of the source, along x and y, mm.
            out_of_plane_angle: tilt about RTK's x, degrees.
            in_plane_angle: of the detector in its plane, degrees.
            detector_shape: pixels (rows, columns).
            detector_pitch: pixel size (along v, along u), mm; negative where the image's axis falls.
            detector_origin: position of the first pixel's centre (along v, along u) before the offset, mm, as an ITK
                image has it; None: the detector is centred.

        Raises:
            InputError: an argument out of range, or lists of different lengths.
        """
        rows, columns = finite_numbers("detector_shape", detector_shape, 2, whole=True)
        pitch_v, pitch_u = finite_numbers("detector_pitch", detector_pitch, 2)
        if detector_origin is None:
            detector_origin = (-(rows - 1) / 2 * pitch_v, -(columns - 1) / 2 * pitch_u)
        first_v, first_u = finite_numbers("detector_origin", detector_origin, 2)
        given = {
            "gantry_angle": gantry_angle,
            "source_to_isocenter": source_to_isocenter,
            "source_to_detector": source_to_detector,
            "projection_offset": projection_offset[0],
            "projection_offset ": projection_offset[1],
            "source_offset": source_offset[0],
            "source_offset ": source_offset[1],
            "out_of_plane_angle": out_of_plane_angle,
            "in_plane_angle": in_plane_angle,
        }
        lists = {name: np.asarray(finite_numbers(name.strip(), np.ravel(value))) for name, value in given.items()}
        views = max(map(len, lists.values()))
        for name, values in lists.items():
            if len(values) not in (1, views):
                raise InputError(f"{name.strip()}: found {len(values)} numbers, expected 1 or {views}")
        gantry, sid, sdd, *offsets, tilt, turn = (np.broadcast_to(values, views) for values in lists.values())
        if not (sid > 0).all():
            raise InputError(f"source_to_isocenter: found {sid.min():g} mm, expected a positive length")
        zero, one = np.zeros(views), np.ones(views)
        rotation = _rotation(gantry, 1) @ _rotation(tilt, 0) @ _rotation(turn, 2)

        def placed(*point: np.ndarray) -> np.ndarray:
            return np.einsum("nij,jn->ni", rotation, np.stack(point))[:, RTK_TO_OURS]

        detector_x, detector_y, source_x, source_y = offsets
        return cls(
            source=placed(source_x, source_y, sid),
            detector=placed(
                detector_x + first_u + (columns - 1) / 2 * pitch_u,
                detector_y + first_v + (rows - 1) / 2 * pitch_v,
                sid - sdd,
            ),
            u=placed(pitch_u * one, zero, zero),
            v=placed(zero, pitch_v * one, zero),
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
        return local.turned(grid.axes)

    def along(self, grid: Grid) -> ConeBeamGeometry:
        """The same scan in the frame of `grid.straight`, whose x, y, z are the grid's axes.

        Raises:
            InputError: a grid whose axes are not at right angles.
        """
        cosines = np.abs(grid.axes.T @ grid.axes - np.eye(3))
        if cosines.max() > SHEAR:
            raise InputError(f"grid: found axes whose cosine is {cosines.max():.4g}, expected right angles")
        return self.turned(grid.axes.T)

    @property
    def is_upright(self) -> bool:
        """Whether every detector has u in the x-y plane and v along z, up or down."""
        return bool(self._tilts.max() <= TILT)

    @property
    def _tilts(self) -> np.ndarray:
        """(views,), sine of the largest angle by which u leaves the x-y plane, or v the z axis."""
        steps = ((self.u, [2]), (self.v, [0, 1]))
        parts = [np.linalg.norm(step[:, axes], axis=1) / np.linalg.norm(step, axis=1) for step, axes in steps]
        return np.maximum(*parts)

    def check_upright(self) -> None:
        """Raise an `InputError` unless the detector stands upright: u in the x-y plane and v along z."""
        if not self.is_upright:
            tilts = self._tilts
            raise InputError(
                f"geometry: found a detector that is tilted by up to {math.degrees(math.asin(tilts.max())):.3g} "
                f"degrees, in view {tilts.argmax()}, expected u in the plane of the grid's x and y, and v along its z"
            )

    def resolution(self, grid: Grid) -> tuple[float, float, float]:
        """Distance of neighbouring rays at the grid's centre along x, y, z, in voxels; the mean over the views."""
        depth = ((np.asarray(grid.center) - self.source) * self.normals).sum(1) / self.plane_depth
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


def _rotation(degrees: np.ndarray, axis: int) -> np.ndarray:
    """(views, 3, 3), counter-clockwise about an axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.broadcast_to(np.eye(3), (len(c), 3, 3)).copy()
    matrix[:, i, i], matrix[:, i, j], matrix[:, j, i], matrix[:, j, j] = c, -s, s, c
    return matrix


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
