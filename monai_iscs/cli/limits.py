# SPDX-License-Identifier: Apache-2.0
"""What fits into this machine's memory: looked at before the work, not when the memory is gone."""

from __future__ import annotations

import os
from pathlib import Path

from monai_iscs.errors import InputError

BYTES_A_NUMBER = 12  # of a measurement or a volume at least: itself, what is compared with it, and a work copy
_CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Bytes of memory that this process can still get; less where a container has a limit of its own."""
    free = _free_memory()
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        free = min(free, limit - int((_CGROUP / "memory.current").read_text()))
    except (OSError, ValueError):  # no container, or one without a limit
        pass
    return max(free, 0)


def _free_memory() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):  # not Linux
        pass
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 2**62  # Windows: nothing is known, so nothing is refused


def check_memory(option: str, value: object, needed: float) -> None:
    """Raise an `InputError` where an option asks for more memory than there is.

    Args:
        option: its name, such as ``--views``.
        value: what was given.
        needed: bytes that a run takes at least.
    """
    available = available_memory()
    if needed > available:
        raise InputError(
            f"{option}: found {value}, which needs at least {needed / 1e9:,.1f} GB of memory, expected one that fits "
            f"into the {available / 1e9:,.1f} GB that are free"
        )
