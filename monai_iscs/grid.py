# SPDX-License-Identifier: Apache-2.0
"""Shape and position of a volume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monai_iscs.errors import InputError


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

    @property
    def upright(self) -> bool:
        """Whether the axes are those of the frame, neither rotated nor mirrored."""
        matrix = np.asarray(self.affine)[:3, :3]
        return bool(np.allclose(matrix, np.diag(self.spacing), rtol=0, atol=1e-4 * min(self.spacing)))
