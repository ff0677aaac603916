# SPDX-License-Identifier: Apache-2.0
"""From volumes to the 2D slices that a prior is trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.utils import convert_to_tensor
from torch import Tensor
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
    group: int = 1,
    strides: Sequence[int] = (1,),
    square: bool = True,
) -> list[dict]:
    """Loads volumes once and keeps their slices in memory, as float16.

    With groups an item is several slices of a volume, which share its memory, and their distance is its condition.

    Args:
        files: paths of the volumes.
        transform: from ``{"image": path}`` to ``{"image": volume}``, ``(C, X, Y, Z)`` in the prior's units.
        slice_axis: the volume's axis (0, 1 or 2) along which slices stack.
        every: keep one slice in ``every``, for a quick validation, and at least one of each volume.
        at_least: number of items that are needed, such as for one batch.
        group: slices in an item.
        strides: of groups: 1 for neighbouring slices, 3 for every third slice; each volume has groups of each.
        square: whether pixels must be; those of slices across the scanned ones are not.

    Returns:
        One ``{"image": tensor}`` of shape ``(C, H, W)`` for each slice. With groups one of shape ``(group * C, H, W)``
        for each first slice of a group that is inside, with ``"condition"``, the natural logarithm of the distance of
        its slices in mm, shape ``(1,)``.

    Raises:
        InputError: there are fewer slices than needed, or pixels that are not square and must be.
    """
    slices = []
    for file in tqdm(files, desc="loading volumes", unit="volume"):
        image = transform({"image": file})["image"]
        spacing = affine_to_spacing(image.affine).tolist() if isinstance(image, MetaTensor) else [1.0] * 3
        sides = [side for axis, side in enumerate(spacing) if axis != slice_axis]
        if square and not is_square(sides):
            msg = f"{file}: found pixels of {sides[0]:.3g} x {sides[1]:.3g} mm in its slices, expected square ones"
            raise InputError(msg)
        volume = convert_to_tensor(image, track_meta=False).movedim(slice_axis + 1, 0)
        if group == 1:
            first = min(every, len(volume)) // 2
            slices += [{"image": image} for image in volume[first::every].half()]
        else:
            slices += groups(volume.half(), group, strides, spacing[slice_axis], every=every)
    if len(slices) < at_least:
        kind = "slices" if group == 1 else f"groups of {group} slices"
        msg = f"{Path(files[0]).parent}: found {len(slices)} {kind}, expected at least {at_least} (one batch)"
        raise InputError(msg)
    return slices


def groups(volume: Tensor, group: int, strides: Sequence[int], spacing: float, *, every: int = 1) -> Iterator[dict]:
    """The groups of a volume's slices (Z, C, H, W), see `load_slices`; they are views of it."""
    for stride in strides:
        last = len(volume) - (group - 1) * stride  # of the first slices, excluded
        condition = torch.tensor([math.log(stride * spacing)])
        for first in range(min(every, max(last, 0)) // 2, last, every):
            members = volume[first : first + (group - 1) * stride + 1 : stride]
            yield {"image": members.flatten(0, 1), "condition": condition}


def middle_with_neighbours(item: dict) -> dict:
    """A group of three slices as its middle one, ``image`` (C, H, W), and the others, ``neighbours`` (2 C, H, W).

    Args:
        item: ``image`` is the group, (3 C, H, W); other entries stay.
    """
    before, middle, after = item["image"].chunk(3)
    return {**item, "image": middle, "neighbours": torch.cat([before, after])}
