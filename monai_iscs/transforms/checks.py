# SPDX-License-Identifier: Apache-2.0
"""Checks that refuse what is not a 3D volume, or not one in HU or of MR magnitudes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform

from monai_iscs.dtypes import computing_dtype, real_tensor
from monai_iscs.errors import InputError
from monai_iscs.scans.meta import image_name
from monai_iscs.transforms.hounsfield import not_hounsfield

VOXEL_SIZES = (0.02, 50.0)  # mm; outside, the header's unit of length is wrong
MOST_SHEAR = 1e-3  # largest |cosine| between two voxel axes
MOST_NEGATIVE = 0.02  # share of the voxels that an interpolation may have left clearly negative
LEAST_NEGATIVE = -500.0  # clearly negative for any maximum: HU of air are lower
UNDERSHOOT = 0.05  # of the maximum: negative values beyond it are clearly negative


def real_image(img: torch.Tensor) -> torch.Tensor:
    """An image to compute with: float64 stays as it is, other real types become float32; a `MetaTensor` stays one.

    Raises:
        InputError: not a tensor of shape (C, X, Y, Z), or a complex one.
    """
    name = image_name(img)
    img = real_tensor(img, name)
    if img.ndim != 4:
        raise InputError(f"{name}: found shape {tuple(img.shape)}, expected (C, X, Y, Z), channels first and no batch")
    return img


class _CheckVolume(Transform):
    """Returns a volume of one modality unchanged, and refuses anything else."""

    modality: str
    units: str
    dicom: str | None = None  # DICOM's name of the modality

    def __call__(self, img: torch.Tensor) -> torch.Tensor:
        """Check `img`.

        Args:
            img: (1, X, Y, Z), a `MetaTensor` with its affine in mm; any orientation.

        Returns:
            `img` itself.

        Raises:
            InputError: for a 2D, 4D or multi-channel image, a single slice, complex, NaN or infinite values, a constant
                image, values that can't be of this modality, or an affine that is singular or sheared.
        """
        name = image_name(img)
        found = img.meta.get("modality") if isinstance(img, MetaTensor) else None
        if self.dicom and found and found != self.dicom:
            raise InputError(f"{name}: found DICOM images of modality {found}, expected {self.dicom}")
        computing_dtype(img, name)
        _check_shape(img, name)
        values = torch.as_tensor(img.as_tensor() if isinstance(img, MetaTensor) else img)
        bad = int((~torch.isfinite(values)).sum())
        if bad:
            raise InputError(f"{name}: found {bad} NaN or infinite voxels, expected finite {self.units} everywhere")
        if float(values.min()) == float(values.max()):
            raise InputError(f"{name}: found {float(values.min()):g} in every voxel, expected {self.modality} volume")
        self._check_units(values, name)
        _check_affine(img, name)
        return img

    @abstractmethod
    def _check_units(self, values: torch.Tensor, name: str) -> None:
        """Raise an `InputError` if the values can't be of this modality."""


class CheckVolume(_CheckVolume):
    """Return a volume in any units unchanged, and refuse what is not a finite 3D volume."""

    modality, units = "a", "values"

    def _check_units(self, values: torch.Tensor, name: str) -> None:
        pass  # any finite values are accepted


class CheckCTVolume(_CheckVolume):
    """Return a CT volume in HU unchanged, and refuse anything else."""

    modality, units, dicom = "a CT", "HU", "CT"

    def _check_units(self, values: torch.Tensor, name: str) -> None:
        wrong = not_hounsfield(values)
        if wrong is not None:
            raise InputError(
                f"{name}: found values that are not HU (they {wrong}), expected a CT with air (if any) near -1000 and "
                "soft tissue near 0"
            )


class CheckMRVolume(_CheckVolume):
    """Return a volume of MR magnitudes unchanged, and refuse anything else.

    Magnitudes are never negative. Few or slightly negative voxels are accepted: an interpolation may have made them.
    """

    modality, units, dicom = "an MR", "signal", "MR"

    def _check_units(self, values: torch.Tensor, name: str) -> None:
        low, high = float(values.min()), float(values.max())
        negative = float((values < max(-UNDERSHOOT * high, LEAST_NEGATIVE)).float().mean())
        if high <= 0 or negative > MOST_NEGATIVE:
            raise InputError(
                f"{name}: found values from {low:g} to {high:g}, {negative:.1%} of them clearly negative, expected MR "
                "magnitudes with a background near 0 and nothing below (a CT in HU, or a normalised image?)"
            )


def _check_shape(img: torch.Tensor, name: str) -> None:
    if img.ndim != 4 or img.shape[0] != 1:
        shape = tuple(img.shape[1:]) + (tuple(img.shape[:1]) if img.shape[0] != 1 else ())
        raise InputError(f"{name}: found an image of shape {shape}, expected one 3D volume (X, Y, Z)")
    if min(img.shape) < 1 or min(img.shape[1:]) < 2:
        raise InputError(
            f"{name}: found a volume of shape {tuple(img.shape[1:])}, expected at least 2 voxels along every axis"
        )


def _check_affine(img: torch.Tensor, name: str) -> None:
    if not isinstance(img, MetaTensor):
        raise InputError(f"{name}: found no affine, expected a MetaTensor with its voxel size in mm")
    axes = img.affine[:3, :3].double()
    lengths = axes.norm(dim=0)
    if not bool(torch.isfinite(img.affine).all()) or float(lengths.min()) < 1e-6:
        sizes = [round(s, 4) for s in lengths.tolist()]
        raise InputError(f"{name}: found a singular affine with voxel sizes {sizes} mm, expected finite ones above 0")
    if float(lengths.min()) < VOXEL_SIZES[0] or float(lengths.max()) > VOXEL_SIZES[1]:
        raise InputError(
            f"{name}: found voxels of {' x '.join(f'{s:.4g}' for s in lengths.tolist())} mm, expected "
            f"{VOXEL_SIZES[0]:g} to {VOXEL_SIZES[1]:g} mm (is the unit of length in its header right?)"
        )
    cosines = (axes / lengths).T @ (axes / lengths) - torch.eye(3, dtype=torch.float64)
    if float(torch.linalg.det(axes / lengths).abs()) < 1e-3:
        raise InputError(f"{name}: found a singular affine, expected voxel axes that do not lie in one plane")
    if float(cosines.abs().max()) > MOST_SHEAR:
        raise InputError(
            f"{name}: found a sheared affine, with two voxel axes {float(cosines.abs().max()):.4f} (cosine) from a "
            f"right angle, expected at most {MOST_SHEAR:g} (gantry tilt? resample the volume first)"
        )


class _Checkd(MapTransform):
    """Dictionary version of one of the checks."""

    make: type[Transform]

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.check = self.make()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Check every key; raises as the check does."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.check(result[key])
        return result


class CheckVolumed(_Checkd):
    """Dictionary version of `CheckVolume`."""

    make = CheckVolume


class CheckCTVolumed(_Checkd):
    """Dictionary version of `CheckCTVolume`."""

    make = CheckCTVolume


class CheckMRVolumed(_Checkd):
    """Dictionary version of `CheckMRVolume`."""

    make = CheckMRVolume


CheckVolumeD = CheckVolumeDict = CheckVolumed
CheckCTVolumeD = CheckCTVolumeDict = CheckCTVolumed
CheckMRVolumeD = CheckMRVolumeDict = CheckMRVolumed
