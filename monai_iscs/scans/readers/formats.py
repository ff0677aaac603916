# SPDX-License-Identifier: Apache-2.0
"""Which reader a file is for."""

from __future__ import annotations

from pathlib import Path

from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.scans.readers.options import Options
from monai_iscs.scans.readers.recording import Recording
from monai_iscs.scans.readers.rtk_xml import read_rtk
from monai_iscs.scans.readers.stack import open_stack

# By the suffix of the geometry's file: read(images, geometry, options).
WITH_GEOMETRY = {".xml": read_rtk}


def open_recording(path: Path, options: Options) -> Recording:
    """What a file holds, before its numbers are line integrals.

    Raises:
        InputError: an unknown format, no geometry, or whatever its reader refuses.
    """
    if isinstance(options.geometry, ConeBeamGeometry):
        return Recording(stack=open_stack(path, views=options.geometry.views), geometry=options.geometry)
    geometry = options.geometry_file or _beside(path)
    read = WITH_GEOMETRY.get(geometry.suffix.lower())
    if read is None:
        raise InputError(f"{geometry}: found {geometry.suffix or 'no suffix'}, expected {', '.join(WITH_GEOMETRY)}")
    return read(path, geometry, options)


def _beside(path: Path) -> Path:
    """The geometry that lies beside images, by their name."""
    beside = path.with_suffix(".xml")
    if not beside.is_file():
        raise InputError(f"found no geometry ({beside.name}) beside it, expected geometry=FILE")
    return beside
