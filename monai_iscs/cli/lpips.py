# SPDX-License-Identifier: Apache-2.0
"""Which LPIPS a verb measures."""

from __future__ import annotations

from monai_iscs.errors import InputError
from monai_iscs.metrics import SliceLPIPS


def choose_lpips(net: str | None) -> tuple[SliceLPIPS | None, str | None]:
    """What measures LPIPS, and why it can't be measured: an error only for who asked for it."""
    if net == "none":
        return None, None
    if net is not None:
        return SliceLPIPS(net, progress=True), None
    try:
        return SliceLPIPS(download=False, progress=True), None
    except InputError as error:
        return None, str(error)
