# SPDX-License-Identifier: Apache-2.0
"""Reading NRRD and MetaImage files, whole and in mm."""

from __future__ import annotations

import bz2
import gzip
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import itk
from monai.config import PathLike
from monai.data import ITKReader

from monai_iscs.errors import InputError
from monai_iscs.scans.readers.itk_file import header_lines
from monai_iscs.transforms.stored import BLOCK, check_real, check_room, millimetres

NRRD = (".nrrd", ".nhdr")
META_IMAGE = (".mha", ".mhd")
DETACHED = (".mhd", ".nhdr")  # headers whose voxels are in other files
TEXT = ("ascii", "text", "txt", "hex")  # encodings of NRRD whose length says nothing
NO_HEADER = "{}: found no {} header, expected a whole file (truncated or damaged?)"


@dataclass
class _Header:
    """The parts of a header that ITK does not report.

    Attributes:
        fields: its entries, by names in lower case.
        parts: the files that hold the voxels, and the byte that they begin at.
        encoding: "raw", "gzip", "bzip2", "zlib" or one of `TEXT`.
        padded: whether other bytes may surround the voxels.
        scale: mm in a unit of its lengths.
    """

    fields: dict[str, str]
    parts: list[tuple[Path, int]] = field(default_factory=list)
    encoding: str = "raw"
    padded: bool = False
    scale: float = 1.0


def voxel_files(header: Path) -> list[Path]:
    """The other files that a header's voxels are in.

    Raises:
        InputError: it is not an NRRD or MetaImage header, or names a missing file.
    """
    return sorted({file for file, _ in _header(header).parts} - {header})


def _header(path: Path) -> _Header:
    return (_nrrd if path.name.lower().endswith(NRRD) else _meta_image)(path)


class VolumeReader(ITKReader):
    """Reads one NRRD or MetaImage file with ITK, after checks that ITK does not make; lengths become mm.

    ITK leaves lengths in the header's units, takes a missing voxel size as 1 and complex voxels by their real part, and
    does not verify compressed voxels.
    """

    def read(self, data: Sequence[PathLike] | PathLike, **_: Any) -> Any:
        """Read a file.

        Raises:
            InputError: a wrong header or wrong bytes; voxels that are not real numbers.
        """
        (name,) = (data,) if isinstance(data, PathLike) else tuple(data)
        path = Path(name)
        header = _header(path)
        io = itk.ImageIOFactory.CreateImageIO(str(path), itk.CommonEnums.IOFileMode_ReadMode)
        if io is None:
            raise InputError(NO_HEADER.format(path, "NRRD or MetaImage"))
        io.SetFileName(str(path))
        io.ReadImageInformation()
        check_real("scalar" if io.GetNumberOfComponents() == 1 else _kind(io), path)
        _check_bytes(path, header, io)
        image = super().read(str(path))
        image.SetSpacing([size * header.scale for size in image.GetSpacing()])
        image.SetOrigin([place * header.scale for place in image.GetOrigin()])
        return image


def _kind(io: Any) -> str:
    name = io.GetPixelTypeAsString(io.GetPixelType())
    return "complex" if name == "complex" else f"{name} ({io.GetNumberOfComponents()} numbers)"


def _nrrd(path: Path) -> _Header:
    header = _Header({})
    with path.open("rb") as stream:
        listed = None
        for line in header_lines(stream):
            if listed is not None:
                listed.append(line)
            elif not line:
                break
            elif ": " in line and not line.startswith("#"):
                key, value = line.split(": ", 1)
                header.fields[key.strip().lower().replace("datafile", "data file")] = value.strip()
                if key.lower() in ("data file", "datafile") and value.startswith("LIST"):
                    listed = []
        attached = [(path, stream.tell())]
    fields = header.fields
    if "sizes" not in fields:
        raise InputError(NO_HEADER.format(path, "NRRD"))
    sizes = fields.get("space directions", fields.get("spacings", "nan")).lower()
    if "nan" in sizes.replace("(", " ").replace(")", " ").replace(",", " ").split():
        raise InputError(f"{path}: found no voxel size in its header, expected space directions or spacings")
    units = _quoted(fields.get("space units", "")) or _quoted(fields.get("units", ""))
    header.scale = _one([millimetres(unit, path) for unit in units], path)
    name = {"gz": "gzip", "bz2": "bzip2"}
    header.encoding = name.get(fields.get("encoding", "raw").lower(), fields.get("encoding", "raw").lower())
    header.padded = bool({"byte skip", "line skip", "byteskip", "lineskip"} & set(fields))
    header.parts = attached if "data file" not in fields else _parts(path, fields["data file"], listed)
    return header


def _meta_image(path: Path) -> _Header:
    header = _Header({})
    with path.open("rb") as stream:
        listed = None
        for line in header_lines(stream):
            if listed is not None:
                listed.append(line)
                continue
            key, equals, value = (part.strip() for part in line.partition("="))
            if not equals:
                break
            header.fields[key.lower()] = value
            if key.lower() == "elementdatafile":
                if not value.upper().startswith("LIST"):
                    break
                listed = []
        attached = [(path, stream.tell())]
    fields = header.fields
    if "dimsize" not in fields:
        raise InputError(NO_HEADER.format(path, "MetaImage"))
    if not {"elementspacing", "elementsize"} & set(fields):
        raise InputError(f"{path}: found no voxel size in its header, expected ElementSpacing")
    sizes = fields.get("elementspacing", fields.get("elementsize", "")).split()
    if len(sizes) != len(fields["dimsize"].split()) or not all(float(size) > 0 for size in sizes):
        raise InputError(f"{path}: found voxels of {' x '.join(sizes)} in its header, expected a size along every axis")
    scaling = [float(fields.get(f"elementtointensityfunction{name}", no)) for name, no in (("slope", 1), ("offset", 0))]
    if scaling != [1, 0]:
        raise InputError(f"{path}: found a scaling of its values ({scaling}), expected none: ITK ignores it")
    header.scale = millimetres(fields.get("distanceunits", ""), path)
    if fields.get("binarydata", "true").lower() in ("false", "f", "0"):
        header.encoding = "ascii"
    elif fields.get("compresseddata", "false").lower() in ("true", "t", "1"):
        header.encoding = "zlib"
    header.padded = "headersize" in fields
    source = fields.get("elementdatafile", "LOCAL")
    header.parts = attached if source.upper() == "LOCAL" else _parts(path, source, listed)
    return header


def _quoted(text: str) -> list[str]:
    """The strings of ``"mm" "mm" "mm"``."""
    return text.split('"')[1::2] if '"' in text else text.split()


def _one(scales: list[float], path: Path) -> float:
    if len(set(scales)) > 1:
        raise InputError(f"{path}: found different units of length along its axes, expected one")
    return scales[0] if scales else 1.0


def _parts(path: Path, source: str, listed: Sequence[str] | None) -> list[tuple[Path, int]]:
    """The files that a header names: one, a list of lines below, or a pattern with the numbers that fill it in."""
    words = source.split()
    if listed is not None:
        names = [line.strip() for line in listed if line.strip()]
    elif "%" in source and len(words) >= 3:
        first, last, *step = (int(word) for word in words[1:4])
        names = [words[0] % number for number in range(first, last + 1, *step)]
    else:
        names = [source]
    for name in names:
        if not (path.parent / name).is_file():
            raise InputError(f"{path}: found no file {name} beside it, expected the voxels that its header names")
    return [(path.parent / name, 0) for name in names]


def _check_bytes(path: Path, header: _Header, io: Any) -> None:
    """Raise an `InputError` where the voxels' bytes are fewer or more than the header says, or damaged."""
    shape = [io.GetDimensions(axis) for axis in range(io.GetNumberOfDimensions())]
    expected = math.prod(shape) * io.GetComponentSize()
    stored = sum(file.stat().st_size - start for file, start in header.parts)
    if header.encoding in TEXT:
        check_room(path, stored=expected, expected=expected, voxels=math.prod(shape), compressed=False)
        return
    compressed = header.encoding != "raw"
    check_room(path, stored=stored, expected=expected, voxels=math.prod(shape), compressed=compressed)
    found = sum(_length(*part, header.encoding, expected) for part in header.parts) if compressed else stored
    if found < expected or (found > expected and not header.padded):
        raise InputError(
            f"{path}: found {found:,} bytes of voxels, expected {expected:,} by its header (truncated or damaged?)"
        )


def _length(file: Path, start: int, encoding: str, expected: int) -> int:
    """Bytes in a compressed file, counted up to 1 MB beyond `expected`; its checksum is verified while reading."""
    length = 0
    with file.open("rb") as stream:
        stream.seek(start)
        if encoding == "zlib":
            blocks = _inflated(stream, file)
        else:
            opened = gzip.GzipFile(fileobj=stream) if encoding == "gzip" else bz2.BZ2File(stream)
            blocks = iter(lambda: opened.read(BLOCK), b"")
        for block in blocks:
            length += len(block)
            if length > expected + BLOCK:
                break
    return length


def _inflated(stream: BinaryIO, file: Path) -> Iterator[bytes]:
    inflate = zlib.decompressobj(wbits=47)  # with zlib's header or gzip's, as MetaIO reads it
    while not inflate.eof:
        data = inflate.unconsumed_tail or stream.read(BLOCK)
        if not data:
            raise InputError(
                f"{file}: found no end of its compressed voxels, expected a whole file (truncated or damaged?)"
            )
        yield inflate.decompress(data, BLOCK)
    if inflate.unused_data or stream.read(1):
        raise InputError(f"{file}: found bytes after its last voxel, expected none")
