# SPDX-License-Identifier: Apache-2.0
"""Which LPIPS a verb measures."""

from __future__ import annotations

from monai_iscs.errors import InputError
from monai_iscs.metrics import SliceLPIPS


def choose_lpips(net: str | None) -> tuple[SliceLPIPS | None, str | None]:
    """The LPIPS metric, and the reason if there is none; an error only if a network was asked for."""
    if net == "none":
        return None, None
    if net is not None:
        return SliceLPIPS(net, progress=True), None
    try:
        return SliceLPIPS(download=False, progress=True), None
    except InputError as error:
        return None, str(error)
