# SPDX-License-Identifier: Apache-2.0
"""Shape and position of a volume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monai_iscs.errors import InputError

SQUARE = 1.01  # longer to shorter side of a pixel that passes for square


@dataclass(frozen=True)
class Grid:
    """Shape and position of a volume.

    Args:
        shape: voxels (X, Y, Z).
        affine: from voxel indices to mm, RAS, 4 rows of 4 numbers; float64. Any array or tensor is taken.

    Raises:
        InputError: another shape, or an affine that cannot be inverted.
    """

    shape: tuple[int, int, int]
    affine: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1 or shape != tuple(self.shape):
            raise InputError(f"shape: found {self.shape}, expected three whole numbers of at least 1")
        affine = np.asarray(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or not abs(np.linalg.det(affine[:3, :3])) > 0:
            raise InputError(f"affine: found {affine.tolist()}, expected 4 x 4 finite numbers that can be inverted")
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", tuple(tuple(row) for row in affine.tolist()))

    @classmethod
    def centered(cls, shape: Sequence[int], spacing: Sequence[float], *, center: Sequence[float] = (0, 0, 0)) -> Grid:
        """A grid whose axes are those of the frame.

        Args:
            shape: voxels (X, Y, Z).
            spacing: voxel size, mm.
            center: of the volume, mm.
        """
        affine = np.diag([*map(float, spacing), 1.0])
        affine[:3, 3] = np.asarray(center) - (np.asarray(shape) - 1) / 2 * np.asarray(spacing, dtype=np.float64)
        return cls(tuple(shape), affine)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along each axis, mm."""
        return tuple(math.hypot(*(row[axis] for row in self.affine[:3])) for axis in range(3))

    @property
    def center(self) -> tuple[float, float, float]:
        """Position of the volume's centre, mm."""
        middle = [*((n - 1) / 2 for n in self.shape), 1.0]
        return tuple(sum(a * m for a, m in zip(row, middle, strict=True)) for row in self.affine[:3])

    @property
    def axes(self) -> np.ndarray:
        """(3, 3): the columns are the directions of the axes, of length 1, in the frame."""
        return np.asarray(self.affine)[:3, :3] / self.spacing

    @property
    def straight(self) -> Grid:
        """The same grid in a frame whose x, y, z are its axes, with the same origin; `upright`."""
        return Grid.centered(self.shape, self.spacing, center=self.axes.T @ self.center)

    def fitted(self, size: int) -> Grid:
        """The grid of `size` × `size` square pixels in the plane that the transform `FitInPlane` brings this one to."""
        x, y, _ = self.spacing
        pixel = (1.0, 1.0) if max(x, y) <= SQUARE * min(x, y) else (x, y)
        ratios, before = fit_square(self.shape[:2], pixel, size)
        matrix = np.diag([*ratios, 1.0, 1.0])
        matrix[:2, 3] = [(ratio - 1) / 2 - b for ratio, b in zip(ratios, before, strict=True)]
        return Grid((size, size, self.shape[2]), np.asarray(self.affine) @ matrix)

    def continued(self, below: int, above: int) -> Grid:
        """The grid with more slices before the first and behind the last one."""
        affine = np.asarray(self.affine).copy()
        affine[:3, 3] -= below * affine[:3, 2]
        return Grid((*self.shape[:2], self.shape[2] + below + above), affine)

    def part(self, region: Sequence[Sequence[int]]) -> Grid:
        """Some of its voxels, (start, stop) along each axis."""
        affine = np.asarray(self.affine).copy()
        affine[:3, 3] += affine[:3, :3] @ [start for start, _ in region]
        return Grid(tuple(stop - start for start, stop in region), affine)

    @property
    def upright(self) -> bool:
        """Whether the axes are those of the frame, neither rotated nor mirrored."""
        matrix = np.asarray(self.affine)[:3, :3]
        return bool(np.allclose(matrix, np.diag(self.spacing), rtol=0, atol=1e-4 * min(self.spacing)))


def fit_square(shape: Sequence[int], pixel: Sequence[float], size: int) -> tuple[list[float], list[float]]:
    """How a slice becomes `size` × `size` square pixels: padded to a square, and averaged down where it is larger.

    Args:
        shape: pixels of the slice (x, y).
        pixel: their sides; equal where they pass for square.
        size: of the result.

    Returns:
        The new pixels' size in old ones, and how many old ones are put before the first one, both for x and y.
    """
    if pixel[0] == pixel[1]:
        side = max(*shape, size)
        return [side / size] * 2, [float((side - n) // 2) for n in shape]
    square = max(max(n * s for n, s in zip(shape, pixel, strict=True)) / size, min(pixel))
    ratios = [square / s for s in pixel]
    return ratios, [(size * ratio - n) / 2 for n, ratio in zip(shape, ratios, strict=True)]
