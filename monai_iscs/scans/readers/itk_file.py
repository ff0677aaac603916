# SPDX-License-Identifier: Apache-2.0
"""Projections in MetaImage and NRRD files: ITK reads the header, the pixels are read image by image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from monai_iscs.errors import InputError
from monai_iscs.scans.readers.packed import BLOCK, Packed

META_IMAGE = (".mha", ".mhd")
NRRD = (".nrrd", ".nhdr")
ITK_SUFFIXES = (*META_IMAGE, *NRRD)
LONGEST = 10_000  # lines that a header may have


def open_itk(path: Path) -> dict[str, Any]:
    """What a `Stack` says of a file: shape, dtype, frames, pitch and origin.

    Raises:
        InputError: a header that says too little, pixels that are not where it says, or axes that are turned.
    """
    import itk

    with path.open("rb") as stream:
        fields, start = (_nrrd_fields if path.name.lower().endswith(NRRD) else _meta_fields)(stream)
    header = itk.ImageIOFactory.CreateImageIO(str(path), itk.CommonEnums.IOFileMode_ReadMode)
    if header is None:
        raise InputError("found no header of MetaImage or NRRD in it, truncated or damaged?")
    header.SetFileName(str(path))
    header.ReadImageInformation()
    axes = range(header.GetNumberOfDimensions())
    size = [header.GetDimensions(axis) for axis in axes]
    kind = header.GetComponentTypeAsString(header.GetComponentType())
    if len(size) not in (2, 3) or header.GetNumberOfComponents() != 1:
        found = f"{' x '.join(map(str, size))} pixels of {header.GetNumberOfComponents()} numbers"
        raise InputError(f"found {found}, expected columns x rows x views of one")
    shape = (size[2] if len(size) == 3 else 1, size[1], size[0])
    letter = "f" if kind in ("float", "double") else "u" if kind.startswith("unsigned") else "i"
    big = fields.get("endian", "") == "big" or _true(fields, "binarydatabyteordermsb", "elementbyteordermsb")
    dtype = np.dtype(f"{'>' if big else '<'}{letter}{header.GetComponentSize()}")
    turned = np.array([header.GetDirection(axis) for axis in axes]).T
    signs = np.sign(np.diag(turned))
    if np.abs(turned - np.diag(signs)).max() > 1e-6 or (len(axes) == 3 and signs[2] < 0):
        raise InputError(f"found turned axes {turned.round(4).tolist()}, expected those of the detector")
    pitch = tuple(float(signs[axis] * header.GetSpacing(axis)) for axis in (1, 0))
    origin = tuple(float(header.GetOrigin(axis)) for axis in (1, 0))
    file, offset, encoding = _pixels(path, fields, start)
    frames = Packed(file=file, shape=shape, dtype=dtype, offset=offset, encoding=encoding)
    return {"shape": shape, "dtype": dtype, "frames": frames, "pitch": pitch, "origin": origin}


def header_lines(stream: BinaryIO) -> Iterator[str]:
    """The lines of a text header, as many as one may have."""
    for _ in range(LONGEST):
        line = stream.readline(BLOCK)
        if not line:
            return
        yield line.decode("utf-8", "replace").rstrip("\r\n")


def _meta_fields(stream: BinaryIO) -> tuple[dict[str, str], int]:
    fields: dict[str, str] = {}
    for line in header_lines(stream):
        key, _, value = (part.strip() for part in line.partition("="))
        fields[key.lower()] = value
        if key.lower() == "elementdatafile":
            break
    if missing := [
        name for name in ("NDims", "DimSize", "ElementType", "ElementDataFile") if name.lower() not in fields
    ]:
        raise InputError(f"found no {', '.join(missing)} in its header, expected a MetaImage (truncated?)")
    if not {"elementspacing", "elementsize"} & set(fields):
        raise InputError("found no pixel size in its header, expected ElementSpacing in mm")
    if (unit := fields.get("distanceunits", "mm")).strip("?") not in ("", "mm"):
        raise InputError(f"found pixels in {unit}, expected mm")
    for name, value in (("slope", "1"), ("offset", "0")):
        if float(given := fields.get(f"elementtointensityfunction{name}", value)) != float(value):
            raise InputError(f"found a scaling of its values ({name} {given}), which ITK passes over; expected none")
    return fields, stream.tell()


def _nrrd_fields(stream: BinaryIO) -> tuple[dict[str, str], int]:
    fields: dict[str, str] = {}
    for line in header_lines(stream):
        if not line:
            break
        key, colon, value = line.partition(": ")
        if colon and not line.startswith("#"):
            fields[key.strip().lower().replace("datafile", "data file")] = value.strip()
    sizes = fields.get("space directions", fields.get("spacings", "nan"))
    if "nan" in sizes.lower():
        raise InputError("found no pixel size in its header, expected space directions or spacings in mm")
    units = set(fields.get("space units", fields.get("units", "")).replace('"', " ").split()) - {"mm", "???", "none"}
    if units:
        raise InputError(f"found pixels in {', '.join(sorted(units))}, expected mm")
    return fields, stream.tell()


def _true(fields: dict[str, str], *names: str) -> bool:
    return any(fields.get(name, "").lower() in ("true", "t", "1") for name in names)


def _pixels(path: Path, fields: dict[str, str], start: int) -> tuple[Path, int, str]:
    """The file with the pixels, the byte that they begin at, and how they are packed."""
    name = fields.get("elementdatafile", fields.get("data file", "LOCAL"))
    encoding = fields.get("encoding", "zlib" if _true(fields, "compresseddata") else "raw").lower()
    encoding = {"gz": "gzip"}.get(encoding, encoding)
    text = fields.get("binarydata", "true").lower() in ("false", "f", "0")
    strange = {"headersize", "byte skip", "line skip", "byteskip", "lineskip"} & set(fields)
    if text or strange or encoding not in ("raw", "zlib", "gzip"):
        found = "text" if text else ", ".join(sorted(strange)) or encoding
        raise InputError(f"found {found} in its header, expected raw or compressed pixels without gaps")
    if name.upper() == "LOCAL":
        return path, start, encoding
    if not (path.parent / name).is_file():
        raise InputError(f"found no file {name!r:.80} beside it, expected the one file that holds its pixels")
    return path.parent / name, 0, encoding
