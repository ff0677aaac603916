# SPDX-License-Identifier: Apache-2.0
"""The size of a scan's pixels, for those who know one size only."""

from __future__ import annotations

import math

import numpy as np

from monai_iscs.errors import InputError
from monai_iscs.operators.vectors import ViewVectors

SAME = 1e-6  # relative: below it, differences of pixels' sizes, and cosines between their sides, are rounding


def pixel_size(scan: ViewVectors, *, user: str) -> tuple[float, float]:
    """The size (along v, along u) of the pixels of all views, mm.

    Args:
        scan: the views.
        user: who knows one size only, for the message.

    Raises:
        InputError: a curved detector, pixels of another size in some view, or pixels that are no rectangles.
    """
    scan.check_flat(user)
    sizes = np.stack([np.linalg.norm(step, axis=1) for step in (scan.v, scan.u)], 1)
    off = np.abs(sizes / sizes[0] - 1).max(1)
    if off.max() > SAME:
        view = int(off.argmax())
        first, other = (" x ".join(f"{length:.7g}" for length in size) for size in (sizes[0], sizes[view]))
        raise InputError(
            f"geometry: found pixels of {first} mm in view 0 and of {other} mm in view {view}, expected one size "
            f"for {user}"
        )
    cosine = (scan.u * scan.v).sum(1) / sizes.prod(1)
    if np.abs(cosine).max() > SAME:
        view = int(np.abs(cosine).argmax())
        raise InputError(
            f"geometry: found pixels whose sides meet at {math.degrees(math.acos(cosine[view])):.5g} degrees in view "
            f"{view}, expected right angles for {user}"
        )
    height, width = sizes.mean(0).tolist()
    return height, width
