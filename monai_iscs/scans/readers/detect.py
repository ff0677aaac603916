# SPDX-License-Identifier: Apache-2.0
"""Whether a file is a scanner's projections; quick to import."""

from __future__ import annotations

from pathlib import Path

# Of files that hold projections together with their geometry, or a description of both.
WITH_GEOMETRY = {".h5", ".hdf5", ".his", ".hnc", ".hnd", ".json", ".mat", ".xim", ".xtekct"}
BESIDE = (".xml", ".geom")  # of a geometry of the same name beside a stack of images


def holds_projections(path: Path) -> bool:
    """Whether a file holds projections, as its name or a geometry beside it says, and not a volume."""
    if path.suffix.lower() in WITH_GEOMETRY:
        return True
    return path.is_file() and any(path.with_suffix(suffix).is_file() for suffix in BESIDE)
