# SPDX-License-Identifier: Apache-2.0
"""How much memory there is, to refuse what would not fit before it is tried."""

from __future__ import annotations

import os
from pathlib import Path


def available_memory() -> int:
    """Bytes that this process can still get: what Linux calls available, elsewhere all that the machine has."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    values = dict(line.split(":") for line in lines)
    return 1024 * int(values["MemAvailable"].split()[0])
