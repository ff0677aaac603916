# SPDX-License-Identifier: Apache-2.0
"""Which reader a file is for."""

from __future__ import annotations

from pathlib import Path

from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.scans.readers import data_exchange, rtk_files, vectors_file
from monai_iscs.scans.readers.ct_pd import holds_ct_pd, read_ct_pd
from monai_iscs.scans.readers.ctsimu import read_ctsimu
from monai_iscs.scans.readers.helsinki import read_helsinki
from monai_iscs.scans.readers.naming import FileError
from monai_iscs.scans.readers.nikon import read_nikon, read_nikon_images
from monai_iscs.scans.readers.options import Options
from monai_iscs.scans.readers.recording import Recording
from monai_iscs.scans.readers.rtk_xml import read_rtk
from monai_iscs.scans.readers.stack import TIFF, open_stack

# What reads a file by its suffix, and which options of its own it takes. Files that hold their images, or name them:
# `read(path, options)`.
COMPLETE = {
    ".json": (read_ctsimu, ()),
    ".xtekct": (read_nikon, ()),
    ".mat": (read_helsinki, ()),
    **dict.fromkeys(data_exchange.SUFFIXES, (data_exchange.read_data_exchange, ("detector_pitch", "axis_column"))),
}
# By the suffix of the geometry's file: `read(images, geometry, options)`.
WITH_GEOMETRY = {
    ".xml": (read_rtk, ("detector_pitch",)),
    ".xtekct": (read_nikon_images, ()),
    **dict.fromkeys(vectors_file.SUFFIXES, (vectors_file.read_vectors, ("unit",))),
}
BESIDE = ".xml"  # of a geometry of the same name beside images
GEOMETRIES = (*WITH_GEOMETRY, ".json (for CTSimU's metadata)")
OWN_OPTIONS = ("unit", "detector_pitch", "axis_column", "turns", "rows")


def open_recording(path: Path, options: Options) -> Recording:
    """What a file holds, before its numbers are line integrals.

    Raises:
        InputError: an unknown format, no geometry, an option that the format has no use for, or whatever its reader
            refuses.
    """
    if holds_ct_pd(path):
        _refuse_others(options, ("turns", "rows"))
        return read_ct_pd(path, options)
    if isinstance(options.geometry, ConeBeamGeometry) and path.suffix.lower() not in COMPLETE:
        _refuse_others(options, ())
        return Recording(stack=open_stack(path, views=options.geometry.views), geometry=options.geometry)
    if _suffix(path) in rtk_files.SUFFIXES:
        _refuse_others(options, ())
        return rtk_files.read_rtk_files(path, options)
    if path.suffix.lower() in COMPLETE:
        read, own = COMPLETE[path.suffix.lower()]
        _refuse_others(options, own)
        return read(path, options)
    geometry = options.geometry_file or _beside(path)
    if geometry.suffix.lower() not in WITH_GEOMETRY:
        found = geometry.suffix or "no suffix"
        raise FileError(geometry, f"found {found}, expected a geometry: {', '.join(GEOMETRIES)}")
    read, own = WITH_GEOMETRY[geometry.suffix.lower()]
    _refuse_others(options, own)
    return read(path, geometry, options)


def holds_projections(path: Path) -> bool:
    """Whether a file or folder holds projections, as its name, its tags or a geometry beside it say, and no volume."""
    if path.suffix.lower() in (*COMPLETE, *rtk_files.SUFFIXES) or holds_ct_pd(path):
        return True
    return path.is_file() and path.with_suffix(BESIDE).is_file()


def geometry_name(path: Path, options: Options) -> Path:
    """The file that the geometry was read from, for messages."""
    beside = path.with_suffix(BESIDE)
    complete = path.suffix.lower() in COMPLETE or options.geometry is not None
    return options.geometry_file or (beside if beside.is_file() and not complete else path)


def check_geometry_given(path: Path) -> None:
    """Raise an `InputError` for what can only be images of a detector, whose geometry nobody gave.

    Args:
        path: of anything but what `holds_projections` knows.
    """
    files = list(path.iterdir()) if path.is_dir() else [path]
    suffixes = {file.suffix.lower() for file in files if file.is_file() or "*" in file.name}
    if suffixes & {".raw", ".bin"} and not suffixes & {".mhd", ".nhdr"}:
        raise FileError(path, "found pixels alone, expected the file that describes them: .mhd, or CTSimU's metadata")
    if ".npz" in suffixes:
        raise FileError(path, "found .npz, expected projections as .npy (view, v, u), or a volume")
    if only := suffixes & {".npy", *TIFF}:
        found = f"images ({', '.join(sorted(only))}) without a geometry"
        raise FileError(path, f"found {found}, expected one: {', '.join(GEOMETRIES)}")
    geometries = sorted(file.name for file in files if file.suffix.lower() == BESIDE and path.is_dir())
    if geometries:
        raise FileError(path, f"found a folder with {geometries[0]}, expected its images: FILE or a pattern like *.mha")


def _suffix(path: Path) -> str:
    """Of a file, or of the files in a folder."""
    if path.is_dir():
        inside = {file.suffix.lower() for file in path.iterdir()}
        return next((suffix for suffix in rtk_files.SUFFIXES if suffix in inside), "")
    return path.suffix.lower()


def _refuse_others(options: Options, own: tuple[str, ...]) -> None:
    options.refuse(*(name for name in OWN_OPTIONS if name not in own), because="the geometry says it already")


def _beside(path: Path) -> Path:
    """The geometry that lies beside images, by their name."""
    beside = path.with_suffix(BESIDE)
    if not path.exists() and "*" not in path.name:
        raise InputError("found no such file or folder, expected projections")
    if not beside.is_file():
        raise InputError(f"found no geometry ({beside.name}) beside it, expected one: {', '.join(GEOMETRIES)}")
    return beside
