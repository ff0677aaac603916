# SPDX-License-Identifier: Apache-2.0
"""From a CT file to the prior's range and grid, and from there back to HU on the file's own grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import (
    CastToTyped,
    Compose,
    Invertd,
    InvertibleTransform,
    Orientationd,
    ScaleIntensityRanged,
)
from monai.utils import ensure_tuple_rep

from monai_iscs.errors import InputError
from monai_iscs.transforms.checks import VOXEL_SIZES, CheckCTVolumed
from monai_iscs.transforms.fit import FitInPlaned
from monai_iscs.transforms.load import LoadVolumed
from monai_iscs.transforms.resample import ResampleVolumed

CT_RANGE = (-1000.0, 1600.0)


class InputCompose(Compose):
    """MONAI's `Compose`, except that an `InputError` of a member is raised itself, not inside a `RuntimeError`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Apply the transforms in order."""
        try:
            return super().__call__(*args, **kwargs)
        except RuntimeError as error:
            cause = error.__cause__
            while cause is not None and not isinstance(cause, InputError):
                cause = cause.__cause__
            if cause is None:
                raise
            raise cause from None


def ct_preprocessing(
    keys: KeysCollection = "image",
    *,
    hu_range: Sequence[float] = CT_RANGE,
    size: int | None = 128,
    spacing: float | Sequence[float] | None = None,
) -> Compose:
    """Transforms from a path (file or DICOM folder) to (1, size, size, Z), RAS, float32, [0, 1], 0 = air.

    Args:
        keys: keys of the paths.
        hu_range: HU that become 0 and 1; values outside are clipped. The low end is air, -1000: only then is a value
            proportional to attenuation. The scan's `unit_attenuation` is that of the range, 0.02 /mm for 1000 HU.
        size: in-plane size of the prior: larger slices are averaged down by area, smaller ones padded with air. None
            leaves them as they are.
        spacing: voxel size in mm to resample to first, linearly, one number or three; None keeps the file's own grid.

    Returns:
        A `Compose`, invertible by `ct_postprocessing`. Its transforms raise `InputError` for what isn't a CT volume.

    Raises:
        InputError: a range that doesn't rise from -1000 HU, a size that isn't positive, or a spacing out of bounds.
    """
    low, high = hu_range
    if not low < high:
        raise InputError(f"hu_range: found {low:g} to {high:g}, expected a low end below the high end")
    if low != CT_RANGE[0]:
        raise InputError(f"hu_range: found {low:g} to {high:g}, expected a low end of {CT_RANGE[0]:g} HU, air")
    resample = []
    if spacing is not None:
        sizes = [float(size) for size in ensure_tuple_rep(spacing, 3)]
        if not all(VOXEL_SIZES[0] <= size <= VOXEL_SIZES[1] for size in sizes):
            raise InputError(
                f"spacing: found {' x '.join(f'{size:g}' for size in sizes)} mm, expected voxels of "
                f"{VOXEL_SIZES[0]:g} to {VOXEL_SIZES[1]:g} mm"
            )
        resample = [ResampleVolumed(keys, sizes)]
    return InputCompose(
        [
            LoadVolumed(keys),
            CheckCTVolumed(keys),
            Orientationd(keys, axcodes="RAS", labels=None),
            *resample,
            ScaleIntensityRanged(keys, a_min=low, a_max=high, b_min=0.0, b_max=1.0, clip=True),
            *([] if size is None else [FitInPlaned(keys, size)]),
        ]
    )


def ct_postprocessing(
    keys: KeysCollection = "pred",
    *,
    transform: InvertibleTransform,
    orig_keys: KeysCollection = "image",
    hu_range: Sequence[float] = CT_RANGE,
) -> Compose:
    """Transforms from a result (1, size, size, Z) in the prior's range to HU, float32, on the input file's grid.

    Values outside [0, 1] are kept, not clipped; the padding is cropped; coarser pixels are interpolated linearly.

    Args:
        keys: keys of the results.
        transform: the `ct_preprocessing` that made the input.
        orig_keys: keys of the preprocessed inputs in the same dictionary: their history is undone.
        hu_range: as given to the preprocessing.
    """
    low, high = hu_range
    return InputCompose(
        [
            Invertd(keys, transform=transform, orig_keys=orig_keys, nearest_interp=False),
            ScaleIntensityRanged(keys, a_min=0.0, a_max=1.0, b_min=low, b_max=high),
            CastToTyped(keys, dtype=torch.float32),
        ]
    )
