# SPDX-License-Identifier: Apache-2.0
"""Checks before the work whether it fits into memory."""

from __future__ import annotations

from monai_iscs.errors import InputError
from monai_iscs.memory import available_memory

BYTES_A_NUMBER = 12  # of a measurement or a volume, at least: itself, its reference, and a work copy


def check_memory(option: str, value: object, needed: float) -> None:
    """Raise an `InputError` where an option asks for more memory than there is.

    Args:
        option: its name, such as ``--views``.
        value: the given one.
        needed: bytes that a run takes at least.
    """
    available = available_memory()
    if needed > available:
        raise InputError(
            f"{option}: found {value}, which needs at least {needed / 1e9:,.1f} GB of memory, expected one that fits "
            f"into the {available / 1e9:,.1f} GB that are free"
        )
