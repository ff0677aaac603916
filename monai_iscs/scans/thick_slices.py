# SPDX-License-Identifier: Apache-2.0
"""The scan of thick slices: from a thin scan, or from thick slices that were measured, to the operator between them."""

from __future__ import annotations

import torch
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing

from monai_iscs.errors import InputError
from monai_iscs.operators import LinearOperator, SliceAveraging
from monai_iscs.operators.slice_averaging import Profile
from monai_iscs.scans.meta import image_name
from monai_iscs.scans.scan import Scan, affine_of, volume_shape


class ThickSliceScan(Scan):
    """Scan of thick slices along z.

    With a factor, for thin volumes whose thick slices are simulated, and for the measurements made by
    `SimulateMeasurement`. Without one, for thick slices that were measured: N of them at a distance of T mm are tiled
    without remainder by round(N T / spacing) thin slices, which makes the factor T over their distance, usually
    `spacing` itself and never more than half a thin slice in the whole stack away from it.

    Args:
        factor: distance of thick slices in thin ones, above 1; None: the images are measured.
        spacing: distance of the thin slices wanted from measured ones, mm.
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

    def __call__(self, image: torch.Tensor) -> LinearOperator:
        """The operator from thin to thick slices for `image`.

        Args:
            image: a volume of thin slices ([B,] C, X, Y, Z), or its simulated measurement; measured thick slices where
                the scan has no factor, a `MetaTensor` with its affine in mm.

        Raises:
            InputError: a factor above the number of slices, or measured slices that are no thicker than `spacing`.
        """
        shape, factor = self._grid(image)
        return SliceAveraging(shape, factor=factor, profile=self.profile)

    def measurement_affine(self, volume: MetaTensor) -> torch.Tensor:
        """Affine of the thick slices: `factor` times as far apart, the first one's centre at its voxels' mean.

        A last slice that is not whole lies nearer than an affine can say: see `SliceAveraging.positions`.
        """
        affine = affine_of(volume)
        return affine @ _step(self._grid(volume)[1]).to(affine)

    def volume_affine(self, measurement: MetaTensor) -> torch.Tensor:
        """Affine of the thin slices that tile the thick ones of `measurement`."""
        affine = affine_of(measurement)
        return affine @ torch.linalg.inv(_step(self._grid(measurement)[1])).to(affine)

    def _grid(self, image: torch.Tensor) -> tuple[tuple[int, ...], float]:
        """Shape in thin slices, and the factor."""
        if self.factor is not None:
            return volume_shape(image), self.factor
        *in_plane, count = image.shape[-3:]
        distance = float(affine_to_spacing(affine_of(image))[2])
        slices = round(count * distance / self.spacing)
        if slices <= count:
            raise InputError(
                f"{image_name(image)}: its slices are {distance:.3g} mm apart, expected clearly more than "
                f"{self.spacing:g} mm"
            )
        return (*in_plane, slices), slices / count


def _step(factor: float) -> torch.Tensor:
    """From indices of thick slices to those of thin ones, (4, 4)."""
    step = torch.diag(torch.tensor([1.0, 1.0, factor, 1.0], dtype=torch.float64))
    step[2, 3] = (factor - 1) / 2
    return step
