# SPDX-License-Identifier: Apache-2.0
"""Source, detector and the detector's steps in each view, as vectors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from monai_iscs.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Self  # of typing itself from Python 3.11 on

VECTORS = ("source", "detector", "u", "v")


@dataclass(frozen=True, kw_only=True, eq=False)
class ViewVectors:
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
        object.__setattr__(self, "detector_shape", finite_numbers("detector_shape", self.detector_shape, 2, whole=True))
        area = np.linalg.norm(self.normals, axis=1)
        if not (area > 0).all():
            raise InputError("u, v: found a detector without area, expected steps in two directions")
        if not (np.abs(self.plane_depth) > 1e-9 * area * np.abs(self.detector - self.source).max()).all():
            raise InputError("source: found one in the detector's plane, expected it outside that plane")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ViewVectors):
            return NotImplemented
        same = (np.array_equal(getattr(self, name), getattr(other, name)) for name in VECTORS)
        return self.detector_shape == other.detector_shape and all(same)

    def __hash__(self) -> int:
        return hash((self.detector_shape, *(getattr(self, name).tobytes() for name in VECTORS)))

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
        return replace(self, **{name: getattr(self, name)[views] for name in VECTORS})

    def part(self, start: int, stop: int) -> Self:
        """The views from `start` up to, but not including, `stop`."""
        return self.chosen(np.arange(self.views)[start:stop])

    def turned(self, matrix: np.ndarray) -> Self:
        """The same scan in another frame with the same origin.

        Args:
            matrix: (3, 3), orthogonal; its rows are the new axes, in this frame.
        """
        return replace(self, **{name: getattr(self, name) @ np.asarray(matrix).T for name in VECTORS})

    def as_dict(self) -> dict[str, Any]:
        """Lists of numbers that JSON keeps exactly."""
        arrays = {name: getattr(self, name).tolist() for name in VECTORS}
        return {**arrays, "detector_shape": list(self.detector_shape)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Undo `as_dict`.

        Raises:
            InputError: other entries than those, or values that make no valid geometry.
        """
        if set(values) != {*VECTORS, "detector_shape"}:
            raise InputError(f"geometry: found {sorted(values)}, expected {', '.join(VECTORS)} and detector_shape")
        return cls(**values)

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
