# SPDX-License-Identifier: Apache-2.0
"""From an MR file to the prior's grid, and from there back to signal units on the file's or the isotropic grid."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import (
    CastToTyped,
    Compose,
    CropForegroundd,
    Invertd,
    InvertibleTransform,
    MapTransform,
    Orientationd,
)
from monai.utils import ensure_tuple

from monai_iscs.errors import InputError
from monai_iscs.transforms.checks import CheckMRVolumed
from monai_iscs.transforms.load import LoadVolumed
from monai_iscs.transforms.preprocessing import InputCompose
from monai_iscs.transforms.resample import ResampleVolumed
from monai_iscs.transforms.robust_maximum import RestoreSignald
from monai_iscs.transforms.slice_spacing import CheckThickSlicesd, CheckThinSlicesd

MARGIN = 4  # voxels of air kept around the head
ALL = 2**14  # more voxels than an axis has: a margin that leaves the axis whole


def mr_preprocessing(keys: KeysCollection = "image", *, spacing: float = 1.0) -> Compose:
    """Transforms from paths of thin scans to (1, X, Y, Z), RAS, float32, isotropic, in the file's signal units.

    Voxels around the head that are 0 (skull-stripped scans) are cut off along x and y, except for a margin; all keys by
    the first one's box. z stays whole, so that thick slices are simulated from the file's own stack. The signal is not
    scaled: `ScaleByRobustMaximumd` does that by the measurement alone. `SlicePrior` pads slices to the prior's
    multiples.

    Args:
        keys: keys of the paths.
        spacing: voxel size to resample to (linearly), mm.

    Returns:
        A `Compose`, invertible by `mr_postprocessing`. Its transforms raise `InputError` for what isn't a thin MR
        volume.
    """
    return InputCompose(
        [
            LoadVolumed(keys),
            CheckMRVolumed(keys),
            Orientationd(keys, axcodes="RAS", labels=None),
            CheckThinSlicesd(keys, _checked(spacing)),
            _crop(keys),
            ResampleVolumed(keys, [spacing] * 3),
        ]
    )


def thick_slice_preprocessing(keys: KeysCollection = "image", *, spacing: float = 1.0) -> Compose:
    """Transforms from paths of measured thick axial slices to (1, X, Y, Z), RAS, float32, in the file's signal units.

    The pixels are resampled to `spacing`, the slices stay as they were measured. Resampling in the plane and averaging
    across it commute, so that the averages stay correct. Air is cut off as in `mr_preprocessing`.

    Args:
        keys: keys of the paths.
        spacing: pixel size to resample to (linearly), mm; also the slice distance of the final result.

    Returns:
        A `Compose` whose transforms raise `InputError` for what isn't an MR volume of thick axial slices.
    """
    return InputCompose(
        [
            LoadVolumed(keys),
            CheckMRVolumed(keys),
            Orientationd(keys, axcodes="RAS", labels=None),
            CheckThickSlicesd(keys, _checked(spacing)),
            ResampleVolumed(keys, [spacing, spacing, -1.0]),
            _crop(keys),
        ]
    )


def mr_postprocessing(
    keys: KeysCollection = "pred", *, transform: InvertibleTransform, orig_keys: KeysCollection = "image"
) -> Compose:
    """Transforms from a result in the prior's range to signal units, float32, on the grid of the scan it came from.

    Args:
        keys: keys of the results.
        transform: the `mr_preprocessing` that made the reference.
        orig_keys: keys of the references in the same dictionary: their history is undone.
    """
    back = Invertd(keys, transform=transform, orig_keys=orig_keys, nearest_interp=False)
    return InputCompose([back, RestoreSignald(keys), CastToTyped(keys, dtype=torch.float32)])


def thick_slice_postprocessing(keys: KeysCollection = "pred", *, transform: Compose) -> Compose:
    """Transforms from a result in the prior's range to signal units, float32, on the isotropic grid: RAS, whole field.

    Args:
        keys: keys of the results.
        transform: the `thick_slice_preprocessing` that made the measurement.
    """
    *_, crop = transform.transforms
    return InputCompose([_Uncropd(keys, crop), RestoreSignald(keys), CastToTyped(keys, dtype=torch.float32)])


class _Uncropd(MapTransform):
    """Undoes a crop on results with thinner slices that carry the cropped image's history."""

    def __init__(self, keys: KeysCollection, crop: CropForegroundd) -> None:
        super().__init__(keys)
        self.cropper = crop.cropper

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Put the air back around every key."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.cropper.inverse(result[key])
        return result


def _crop(keys: KeysCollection) -> CropForegroundd:
    return CropForegroundd(
        keys,
        source_key=ensure_tuple(keys)[0],
        margin=(MARGIN, MARGIN, ALL),
        allow_smaller=True,
        start_coord_key=None,
        end_coord_key=None,
    )


def _checked(spacing: float) -> float:
    if not isinstance(spacing, int | float):
        raise InputError(f"spacing: found {spacing}, expected one number of mm")
    if not spacing > 0:
        raise InputError(f"spacing: found {spacing:g} mm, expected a positive voxel size")
    return spacing
