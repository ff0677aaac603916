# SPDX-License-Identifier: Apache-2.0
"""The brightness of an image, in any units."""

from __future__ import annotations

import numpy as np
import torch

from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import InputError

PERCENTILE = 99.5


def robust_maximum(image: torch.Tensor, name: str = "image") -> float:
    """The signal that becomes 1: the 99.5th percentile of the voxels that are brighter than the mean.

    Those voxels are the head. So it hardly depends on the amount of air around it or on a few bright vessels.

    Args:
        image: any shape, any units, mostly not negative.
        name: of the image in messages.

    Raises:
        InputError: an image without signal, or a complex one.
    """
    values = real_tensor(image, name).as_subclass(torch.Tensor).float()
    bright = values[values > values.mean()]
    result = float(np.percentile(bright.cpu().numpy(), PERCENTILE)) if len(bright) else 0.0
    if not result > 0:
        raise InputError(f"{name}: found no signal above 0, expected an image")
    return result
