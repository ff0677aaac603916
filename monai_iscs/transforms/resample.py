# SPDX-License-Identifier: Apache-2.0
"""Resampling to voxels of a given size, if the result fits into memory."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.config import KeysCollection
from monai.data.utils import affine_to_spacing
from monai.transforms import Spacingd

from monai_iscs.errors import InputError
from monai_iscs.memory import available_memory
from monai_iscs.scans.meta import image_name

BYTES_A_VOXEL = 16  # of the result, at least: itself, its sampling grid, and a copy


class ResampleVolumed(Spacingd):
    """Resamples volumes linearly with MONAI's `Spacingd`, if the result fits into memory.

    Args:
        keys: keys of the volumes, `MetaTensor`s (C, X, Y, Z).
        spacing: mm along X, Y and Z; -1 leaves an axis as it is.
    """

    def __init__(self, keys: KeysCollection, spacing: Sequence[float]) -> None:
        super().__init__(keys, pixdim=spacing, mode="bilinear", padding_mode="border")
        self.spacing = tuple(spacing)

    def __call__(self, data: Mapping[Hashable, Any], lazy: bool | None = None) -> dict[Hashable, Any]:
        """Resample every key.

        Raises:
            InputError: more voxels than memory holds.
        """
        for key in self.key_iterator(dict(data)):
            _check_room(data[key], self.spacing)
        return super().__call__(data, lazy)


def _check_room(image: Any, spacing: Sequence[float]) -> None:
    there = affine_to_spacing(image.affine).tolist()
    voxels = math.prod(
        count * (old / new if new > 0 else 1) for count, old, new in zip(image.shape[1:], there, spacing, strict=True)
    )
    needed, available = BYTES_A_VOXEL * voxels, available_memory()
    if needed > available:
        sizes = " x ".join(f"{size:g}" for size in spacing if size > 0)
        raise InputError(
            f"{image_name(image)}: found {available / 1e9:,.1f} GB of memory, expected {needed / 1e9:,.1f} GB to "
            f"resample it to voxels of {sizes} mm (larger voxels need less)"
        )
