# SPDX-License-Identifier: Apache-2.0
"""From volumes to the 2D slices that a prior is trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.utils import convert_to_tensor
from tqdm import tqdm

from monai_iscs.errors import InputError
from monai_iscs.transforms.fit import is_square


def load_slices(
    files: Sequence[str],
    transform: Callable[[dict], dict],
    *,
    slice_axis: int = 2,
    every: int = 1,
    at_least: int = 1,
) -> list[dict]:
    """Loads volumes once and keeps their slices in memory, as float16.

    Args:
        files: paths of the volumes.
        transform: from ``{"image": path}`` to ``{"image": volume}``, ``(C, X, Y, Z)`` in the prior's units.
        slice_axis: the volume's axis (0, 1 or 2) along which slices stack.
        every: keep one slice in ``every``, for a quick validation, and at least one of each volume.
        at_least: number of slices that are needed, such as for one batch.

    Returns:
        One ``{"image": tensor}`` of shape ``(C, H, W)`` for each slice.

    Raises:
        InputError: there are fewer slices than needed, or a volume's slices have pixels that are not square.
    """
    slices = []
    for file in tqdm(files, desc="loading volumes", unit="volume"):
        image = transform({"image": file})["image"]
        spacing = affine_to_spacing(image.affine).tolist() if isinstance(image, MetaTensor) else [1.0] * 3
        sides = [side for axis, side in enumerate(spacing) if axis != slice_axis]
        if not is_square(sides):
            msg = f"{file}: found pixels of {sides[0]:.3g} x {sides[1]:.3g} mm in its slices, expected square ones"
            raise InputError(msg)
        volume = convert_to_tensor(image, track_meta=False).movedim(slice_axis + 1, 0)
        first = min(every, len(volume)) // 2
        slices += [{"image": image} for image in volume[first::every].half()]
    if len(slices) < at_least:
        msg = f"{Path(files[0]).parent}: found {len(slices)} slices, expected at least {at_least} (one batch)"
        raise InputError(msg)
    return slices
