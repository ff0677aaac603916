# SPDX-License-Identifier: Apache-2.0
"""Source, detector and the detector's steps in each view, as vectors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from monai_iscs.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Self  # of typing itself from Python 3.11 on

VECTORS = ("source", "detector", "u", "v")
STEPS = ("u", "v")  # which stay the same wherever the scan is
CURVED = "curved_about"
SQUARE = 1e-6  # largest |cosine| between the directions of a curved detector that have to be at right angles


@dataclass(frozen=True, kw_only=True, eq=False)
class ViewVectors:
    """A point source and a flat or curved detector, at any place in each view; all lengths in mm, in one frame.

    The frame is the one that a grid's affine maps to. Pixel (row k, column l) of a flat detector with R rows and C
    columns has its centre at `detector + (k − (R − 1) / 2) · v + (l − (C − 1) / 2) · u`.

    A curved detector is part of a cylinder along v: column l is at the angle (l − (C − 1) / 2) · |u| / r from the
    middle one, seen from the point `curved_about` on the cylinder's axis, r away from `detector`; u is its step in the
    middle, along the cylinder. Clinical scanners have it about the place where the source is at rest.

    Attributes:
        source: (views, 3), float64.
        detector: the detector's centre, (views, 3).
        u: from one column of the detector to the next, (views, 3).
        v: from one row to the next, (views, 3).
        detector_shape: pixels (rows along v, columns along u).
        curved_about: the point that the detector is curved about, at the height of its centre, (views, 3); None: flat.

    Raises:
        InputError: arrays of other shapes, values that are not finite, a detector that has no area or whose plane
            contains the source, or a curved one that is no part of such a cylinder, covers 180° or more of it, or has
            the source outside of it.
    """

    source: np.ndarray
    detector: np.ndarray
    u: np.ndarray
    v: np.ndarray
    detector_shape: tuple[int, int]
    curved_about: np.ndarray | None = None

    def __post_init__(self) -> None:
        views = None
        for name in self._names:
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
        object.__setattr__(self, "detector_shape", finite_numbers("detector_shape", self.detector_shape, 2, whole=True))
        area = np.linalg.norm(self.normals, axis=1)
        if not (area > 0).all():
            raise InputError("u, v: found a detector without area, expected steps in two directions")
        if not (np.abs(self.plane_depth) > 1e-9 * area * np.abs(self.detector - self.source).max()).all():
            raise InputError("source: found one in the detector's plane, expected it outside that plane")
        if self.curved_about is not None:
            self._check_curved()

    def _check_curved(self) -> None:
        radial, source = self.detector - self.curved_about, self.source - self.curved_about
        radius, u, v = (np.linalg.norm(vectors, axis=1) for vectors in (radial, self.u, self.v))
        if not (radius > 0).all():
            raise InputError(f"{CURVED}: found the detector's centre, expected a point at a distance from it")
        off = max(
            np.abs((self.u * self.v).sum(1) / (u * v)).max(),
            np.abs((radial * self.u).sum(1) / (radius * u)).max(),
            np.abs((radial * self.v).sum(1) / (radius * v)).max(),
        )
        if off > SQUARE:
            raise InputError(
                f"{CURVED}: found a detector whose u, v and radius have a cosine of {off:.2g}, expected right angles"
            )
        if (wide := np.degrees(self.detector_shape[1] * u / radius).max()) >= 180:
            raise InputError(f"{CURVED}: found a detector of {wide:.0f} degrees, expected less than 180")
        along = (source * self.v).sum(1, keepdims=True) / v[:, None] ** 2 * self.v
        if not (np.linalg.norm(source - along, axis=1) < radius * (1 - SQUARE)).all():
            raise InputError(f"{CURVED}: found a source outside the detector's cylinder, expected it inside")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ViewVectors):
            return NotImplemented
        if (self.detector_shape, self._names) != (other.detector_shape, other._names):
            return False
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in self._names)

    def __hash__(self) -> int:
        return hash((self.detector_shape, *(getattr(self, name).tobytes() for name in self._names)))

    @property
    def _names(self) -> tuple[str, ...]:
        """Of the arrays that it has."""
        return VECTORS if self.curved_about is None else (*VECTORS, CURVED)

    @property
    def is_curved(self) -> bool:
        """Whether the detector is part of a cylinder."""
        return self.curved_about is not None

    def check_flat(self, user: str) -> None:
        """Raise an `InputError` if the detector is curved.

        Args:
            user: who needs a flat one, for the message.
        """
        if self.is_curved:
            raise InputError(f"geometry: found a curved detector, expected a flat one for {user}")

    @property
    def views(self) -> int:
        """Number of views."""
        return len(self.source)

    @property
    def projection_shape(self) -> tuple[int, int, int]:
        """(views, v, u)."""
        return (self.views, *self.detector_shape)

    def chosen(self, views: np.ndarray) -> Self:
        """The views of these indices."""
        return replace(self, **{name: getattr(self, name)[views] for name in self._names})

    def part(self, start: int, stop: int) -> Self:
        """The views from `start` up to, but not including, `stop`."""
        return self.chosen(np.arange(self.views)[start:stop])

    def turned(self, matrix: np.ndarray) -> Self:
        """The same scan in another frame with the same origin.

        Args:
            matrix: (3, 3), orthogonal; its rows are the new axes, in this frame.
        """
        return replace(self, **{name: getattr(self, name) @ np.asarray(matrix).T for name in self._names})

    def moved(self, by: ArrayLike) -> Self:
        """The same scan, with source and detector elsewhere.

        Args:
            by: mm, (3,), or (views, 3).
        """
        places = [name for name in self._names if name not in STEPS]
        return replace(self, **{name: getattr(self, name) + by for name in places})

    def as_dict(self) -> dict[str, Any]:
        """Lists of numbers that JSON keeps exactly."""
        arrays = {name: getattr(self, name).tolist() for name in self._names}
        return {**arrays, "detector_shape": list(self.detector_shape)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Undo `as_dict`.

        Raises:
            InputError: other entries than those, or values that make no valid geometry.
        """
        if set(values) - {CURVED} != {*VECTORS, "detector_shape"}:
            raise InputError(f"geometry: found {sorted(values)}, expected {', '.join(VECTORS)} and detector_shape")
        return cls(**values)

    def column_places(self, columns: ArrayLike) -> np.ndarray:
        """Where columns of the detector meet its middle height, (views, n, 3).

        Args:
            columns: counted from the detector's centre, fractional, (n,).
        """
        columns = np.asarray(columns, np.float64)[:, None]
        if self.curved_about is None:
            return self.detector[:, None] + columns * self.u[:, None]
        radial, aside = (vectors[:, None] for vectors in self._radii())
        angle = columns * self._step_angles()[:, None, None]
        return self.curved_about[:, None] + np.cos(angle) * radial + np.sin(angle) * aside

    def _radii(self) -> tuple[np.ndarray, np.ndarray]:
        """Of a curved detector, (views, 3): from its axis to its centre, and as far along u."""
        radial = self.detector - self.curved_about
        lengths = (np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (radial, self.u))
        return radial, self.u * np.divide(*lengths)

    def _step_angles(self) -> np.ndarray:
        """Of a curved detector, (views,): radians from column to column."""
        return np.linalg.norm(self.u, axis=1) / np.linalg.norm(self.detector - self.curved_about, axis=1)

    def binned(self, first: tuple[float, float], shape: tuple[int, int], size: tuple[int, int]) -> Self:
        """The scan of a part of the detector, in larger pixels.

        Args:
            first: row and column of the part's first pixel; between pixels, too.
            shape: larger pixels (rows, columns).
            size: a larger pixel's rows and columns.
        """
        off_v, off_u = (
            start + (count * pixels - 1) / 2 - (n - 1) / 2
            for start, count, pixels, n in zip(first, shape, size, self.detector_shape, strict=True)
        )
        along_u = self.u
        if self.curved_about is not None:
            step = self._step_angles()[:, None]
            radial, aside = self._radii()
            along_u = step * (np.cos(off_u * step) * aside - np.sin(off_u * step) * radial)
        up = off_v * self.v
        return replace(
            self,
            detector=self.column_places([off_u])[:, 0] + up,
            u=size[1] * along_u,
            v=size[0] * self.v,
            detector_shape=shape,
            curved_about=None if self.curved_about is None else self.curved_about + up,
        )

    @property
    def normals(self) -> np.ndarray:
        """(views, 3), not of unit length."""
        return np.cross(self.u, self.v)

    @property
    def plane_depth(self) -> np.ndarray:
        """(views,), distance of the detector's plane from the source along `normals`, in units of their lengths."""
        return ((self.detector - self.source) * self.normals).sum(1)


def finite_numbers(name: str, value: Any, count: int = 0, *, whole: bool = False, positive: bool = False) -> tuple:
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
