# SPDX-License-Identifier: Apache-2.0
"""Bringing a signal of arbitrary units to the prior's range."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform

from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import InputError
from monai_iscs.scans.meta import image_name
from monai_iscs.scans.robust_maximum import robust_maximum

META_KEY = "robust_maximum"


class ScaleByRobustMaximum(Transform):
    """Divide an image by its own `robust_maximum`.

    Most of the result is in [0, 1]; the brightest voxels (vessels, below one percent of the head) are above 1 and stay
    so: nothing is clipped, so that averages of the image remain correct. The divisor is kept in
    `meta["robust_maximum"]`.
    """

    def __call__(self, img: MetaTensor) -> MetaTensor:
        """Scale `img` (C, X, Y, Z)."""
        return _divide(img, robust_maximum(img, image_name(img)))


class ScaleByRobustMaximumd(MapTransform):
    """Divide several images by the robust maximum of one of them.

    Args:
        keys: keys of the images.
        by: key of the image whose robust maximum is used: the measurement, so that a reference has no influence.
        allow_missing_keys: don't raise if a key is missing.
    """

    def __init__(self, keys: KeysCollection, *, by: Hashable, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.by = by

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Scale every key."""
        result = dict(data)
        image = result[self.by]
        maximum = robust_maximum(image, image_name(image))
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
            raise InputError(f'{image_name(img)}: found no meta["{META_KEY}"], expected an image that was scaled by it')
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
