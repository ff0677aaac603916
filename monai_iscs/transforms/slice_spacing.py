# SPDX-License-Identifier: Apache-2.0
"""Checks for thick and for thin slices."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.transforms import MapTransform, Transform

from monai_iscs.errors import InputError
from monai_iscs.scans.meta import image_name

LEAST_THICK = 1.2  # times the wanted slice distance, or the pixels: thinner slices count as isotropic
MOST_THIN = 1.5  # times the wanted slice distance: thicker slices cannot be used as thin ones


class _CheckSlices(Transform):
    """Returns a volume unchanged if its slices are suitable.

    Args:
        spacing: distance of the thin slices that are wanted, mm.
    """

    def __init__(self, spacing: float = 1.0) -> None:
        if not isinstance(spacing, int | float) or not spacing > 0:
            raise InputError(f"spacing: found {spacing} mm, expected a positive slice distance")
        self.spacing = spacing

    def __call__(self, img: MetaTensor) -> MetaTensor:
        """Return the RAS volume `img` (C, X, Y, Z) itself, or raise an `InputError`."""
        voxel = [float(s) for s in affine_to_spacing(img.affine)]
        self._check(voxel, f"{image_name(img)}: found voxels of {voxel[0]:.3g} x {voxel[1]:.3g} x {voxel[2]:.3g} mm")
        return img

    @abstractmethod
    def _check(self, voxel: list[float], found: str) -> None: ...


class CheckThickSlices(_CheckSlices):
    """Return a RAS volume of thick axial slices, and refuse one that is isotropic or thick along x or y."""

    def _check(self, voxel: list[float], found: str) -> None:
        if max(voxel) < LEAST_THICK * max(self.spacing, min(voxel)):
            raise InputError(
                f"{found}, isotropic already, expected slices clearly thicker than {self.spacing:g} mm and than the "
                "pixels (--factor N simulates thick slices from it)"
            )
        if voxel[2] < max(voxel):
            raise InputError(
                f"{found}, whose thickest slices stack along {'xy'[voxel.index(max(voxel))]}, expected axial slices, "
                "which stack along z"
            )


class CheckThinSlices(_CheckSlices):
    """Return a RAS volume from which thick slices can be simulated, and refuse one of thick slices."""

    def _check(self, voxel: list[float], found: str) -> None:
        if max(voxel) > MOST_THIN * self.spacing:
            raise InputError(
                f"{found}, too thick to simulate thick slices from ones of {self.spacing:g} mm, expected at most "
                f"{MOST_THIN * self.spacing:g} mm (without --factor it is taken as measured)"
            )


class _CheckSlicesd(MapTransform):
    """Dictionary version of one of the checks.

    Args:
        keys: keys of the volumes.
        spacing: see `_CheckSlices`.
        allow_missing_keys: don't raise if a key is missing.
    """

    make: type[_CheckSlices]

    def __init__(self, keys: KeysCollection, spacing: float = 1.0, *, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.check = self.make(spacing)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Check every key; raises as the check does."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.check(result[key])
        return result


class CheckThickSlicesd(_CheckSlicesd):
    """Dictionary version of `CheckThickSlices`."""

    make = CheckThickSlices


class CheckThinSlicesd(_CheckSlicesd):
    """Dictionary version of `CheckThinSlices`."""

    make = CheckThinSlices


CheckThickSlicesD = CheckThickSlicesDict = CheckThickSlicesd
CheckThinSlicesD = CheckThinSlicesDict = CheckThinSlicesd
