# SPDX-License-Identifier: Apache-2.0
"""The scan of thick slices: simulated from thin ones, or measured."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import LinearOperator, SliceAveraging
from monai_iscs.operators.slice_averaging import Profile
from monai_iscs.scans.measurement import Measurement
from monai_iscs.scans.scan import Scan


class ThickSliceScan(Scan):
    """Scan of thick slices along z.

    With a factor, for thin volumes whose thick slices are simulated. Without one, for thick slices that were measured:
    N slices T mm apart are divided without remainder into round(N T / spacing) thin slices, and the factor is T over
    their distance. That distance is `spacing`, except for a rounding of at most half a thin slice over the whole stack.

    Args:
        factor: distance of thick slices in thin ones, above 1; None: the images are measured.
        spacing: distance of the thin slices to reconstruct from measured ones, mm.
        profile: slice profile, see `SliceAveraging`; default a box without gaps.

    Raises:
        InputError: a factor or spacing out of range.
    """

    def __init__(self, *, factor: float | None = None, spacing: float = 1.0, profile: Profile | None = None) -> None:
        if factor is not None and not factor > 1:
            raise InputError(f"factor: found {factor:g}, expected more than 1")
        if not isinstance(spacing, int | float) or not spacing > 0:
            raise InputError(f"spacing: found {spacing} mm, expected a positive slice distance")
        self.factor = factor
        self.spacing = spacing
        self.profile = profile

    def operator(self, grid: Grid) -> LinearOperator:
        """From thin slices on the grid to thick ones.

        Raises:
            InputError: the scan has no factor, or one above the number of slices.
        """
        if self.factor is None:
            raise InputError("factor: found None (for measured slices), expected a number to simulate thick slices")
        return SliceAveraging(grid.shape, factor=self.factor, profile=self.profile)

    def thick_grid(self, grid: Grid) -> Grid:
        """The grid of the thick slices: `factor` times as far apart, the first one's centre at its voxels' mean.

        An incomplete last slice is closer than the affine says: see `SliceAveraging.positions`.
        """
        return Grid(self.operator(grid).range_shape, grid.affine @ _step(self.factor))

    def measurement_affine(self, grid: Grid) -> tuple[tuple[float, ...], ...]:
        """That of `thick_grid`."""
        return self.thick_grid(grid).affine

    def measured(self, thick: Tensor, grid: Grid) -> Measurement:
        """The measurement of thick slices, on the grid of the thin slices to reconstruct.

        Args:
            thick: (C, X, Y, N), real.
            grid: of the thick slices.

        Raises:
            InputError: the scan has a factor, the slices are no thicker than `spacing`, or another shape.
        """
        if self.factor is not None:
            raise InputError(f"factor: found {self.factor:g}, expected None for measured slices")
        if tuple(thick.shape[1:]) != grid.shape:
            raise InputError(
                f"slices: found shape {tuple(thick.shape)}, expected (C, {', '.join(map(str, grid.shape))})"
            )
        *in_plane, count = grid.shape
        distance = grid.spacing[2]
        slices = round(count * distance / self.spacing)
        if slices <= count:
            raise InputError(
                f"slices: found a distance of {distance:.3g} mm, expected clearly more than {self.spacing:g} mm"
            )
        factor = slices / count
        thin = Grid((*in_plane, slices), grid.affine @ np.linalg.inv(_step(factor)))
        return Measurement(thick, SliceAveraging(thin.shape, factor=factor, profile=self.profile), thin)


def _step(factor: float) -> np.ndarray:
    """From indices of thick slices to those of thin ones, (4, 4)."""
    step = np.diag([1.0, 1.0, factor, 1.0])
    step[2, 3] = (factor - 1) / 2
    return step
