# SPDX-License-Identifier: Apache-2.0
"""Line integrals that can't be any."""

from __future__ import annotations

import torch
from torch import Tensor

from monai_iscs.errors import InputError

MEASURED = 20.0  # one photon in 5e8 passes; phantoms of programs are often denser
LARGEST = 1000.0
LOWEST_MEAN = -0.02
AIR = (0.9, 1.1)  # transmission of rays beside the object


def check_line_integrals(data: Tensor, *, sure: bool) -> list[str]:
    """Look for numbers that must be something else.

    Args:
        data: (view, v, u), finite.
        sure: whether the user says that they are line integrals: then they may look like transmission.

    Returns:
        What is strange, but possible.

    Raises:
        InputError: what is not.
    """
    low, high, mean = float(data.min()), float(data.max()), float(data.mean((1, 2)).mean())
    if low == high and data.numel() > 1:
        raise InputError(f"found {low:g} in every pixel, expected line integrals of an object")
    if mean < LOWEST_MEAN:
        raise InputError(
            f"found line integrals of {mean:.3g} in the mean, expected positive ones (air or flat too low? wrong sign?)"
        )
    if high > MEASURED:
        if high > LARGEST or bool((data[0] == data[0].round()).all()):
            raise InputError(
                f"found line integrals of up to {high:.4g}, expected at most {MEASURED:g} (or kind counts, if they are "
                "counts)"
            )
        return [
            f"found line integrals of up to {high:.4g}, which no scanner can measure: simulated, or in another unit?"
        ]
    if sure or low < 0 or high > AIR[1]:
        return []
    edge = float(torch.cat([data[..., 0].flatten(), data[..., -1].flatten()]).median())
    middle = float(data[..., data.shape[-1] // 2].median())
    if AIR[0] < edge < AIR[1] and middle < edge:
        raise InputError(
            f"found values of {edge:.2g} at the detector's sides that fall to {middle:.2g} in its middle, expected "
            "line integrals: give kind transmission if they are shares of the air's counts, else kind line-integrals"
        )
    return []
