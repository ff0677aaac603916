# SPDX-License-Identifier: Apache-2.0
"""Bringing a signal of arbitrary units to the prior's range."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.transforms.utils_pytorch_numpy_unification import percentile

from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import InputError
from monai_iscs.scans.meta import image_name

PERCENTILE = 99.5
META_KEY = "robust_maximum"


def robust_maximum(image: torch.Tensor) -> float:
    """The signal that becomes 1: the 99.5th percentile of the voxels that are brighter than the mean.

    Those are the head, so that it hardly depends on how much air lies around it, and a few bright vessels do not move
    it.

    Args:
        image: any shape, any units, not negative on the whole.

    Raises:
        InputError: an image without signal, or a complex one.
    """
    values = real_tensor(image, image_name(image)).as_subclass(torch.Tensor).float()
    bright = values[values > values.mean()]
    result = float(percentile(bright, PERCENTILE)) if len(bright) else 0.0
    if not result > 0:
        raise InputError(f"{image_name(image)}: found no signal above 0, expected an image")
    return result


class ScaleByRobustMaximum(Transform):
    """Divide an image by its own `robust_maximum`.

    The bulk of the result is in [0, 1]; the brightest voxels (vessels, one in some hundred of the head) lie above 1 and
    stay there: nothing is clipped, so that averages of the image remain what they are. What it was divided by is left
    in `meta["robust_maximum"]`.
    """

    def __call__(self, img: MetaTensor) -> MetaTensor:
        """Scale `img` (C, X, Y, Z)."""
        return _divide(img, robust_maximum(img))


class ScaleByRobustMaximumd(MapTransform):
    """Divide several images by the robust maximum of one of them.

    Args:
        keys: keys of the images.
        by: key of the image whose robust maximum it is: the measurement, so that a reference decides nothing.
        allow_missing_keys: don't raise if a key is missing.
    """

    def __init__(self, keys: KeysCollection, *, by: Hashable, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.by = by

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Scale every key."""
        result = dict(data)
        maximum = robust_maximum(result[self.by])
        for key in self.key_iterator(result):
            result[key] = _divide(result[key], maximum)
        return result


class RestoreSignal(Transform):
    """Undo `ScaleByRobustMaximum`: multiply by `meta["robust_maximum"]`."""

    def __call__(self, img: MetaTensor) -> MetaTensor:
        """Scale `img` (C, X, Y, Z) back to signal units.

        Raises:
            InputError: an image without that meta.
        """
        maximum = img.meta.get(META_KEY) if isinstance(img, MetaTensor) else None
        if maximum is None:
            raise InputError(f'{image_name(img)}: has no meta["{META_KEY}"], expected an image that was scaled by it')
        return img * float(torch.as_tensor(maximum).flatten()[0])


class RestoreSignald(MapTransform):
    """Dictionary version of `RestoreSignal`."""

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.restore = RestoreSignal()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Scale every key back."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.restore(result[key])
        return result


def _divide(img: MetaTensor, maximum: float) -> MetaTensor:
    result = real_tensor(img, image_name(img)) / maximum
    if isinstance(result, MetaTensor):
        result.meta[META_KEY] = maximum
    return result


ScaleByRobustMaximumD = ScaleByRobustMaximumDict = ScaleByRobustMaximumd
RestoreSignalD = RestoreSignalDict = RestoreSignald
