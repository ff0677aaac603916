# SPDX-License-Identifier: Apache-2.0
"""Checks that all readers of volume files share: units, kinds of values, and whether all bytes are there, undamaged."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from monai_iscs.errors import InputError
from monai_iscs.memory import available_memory

MILLIMETRES = {
    1000.0: ("m", "meter", "metre"),
    10.0: ("cm", "centimeter", "centimetre"),
    1.0: ("mm", "millimeter", "millimetre"),
    1e-3: ("um", "µm", "μm", "micron", "micrometer", "micrometre"),
    1e-6: ("nm", "nanometer", "nanometre"),
    25.4: ("in", "inch", "inche"),  # its plural ends in "es"
}
EXPANSION = 1032  # most bytes that one byte of a deflated file can expand to
BLOCK = 2**20


def millimetres(unit: str, path: Path) -> float:
    """Millimetres in a header's unit of length; no unit, "?" or "???" is taken as mm, as is usual.

    Raises:
        InputError: not a unit of length.
    """
    name = unit.strip().strip('"').strip().lower()
    if not name.strip("?") or name in ("none", "unknown"):
        return 1.0
    for factor, names in MILLIMETRES.items():
        if name in names or name.removesuffix("s") in names:
            return factor
    raise InputError(f"{path}: found the unit {unit.strip()!r} of its voxel size, expected one of length, such as mm")


def check_real(kind: str, path: Path) -> None:
    """Raise an `InputError` for voxels that are not real numbers.

    Args:
        kind: of a voxel, such as "complex", "rgb", or "scalar", which is accepted.
        path: of the file.
    """
    if kind == "complex":
        raise InputError(
            f"{path}: found complex voxels, expected real ones (magnitudes of MR, HU of CT): write its magnitude first"
        )
    if kind != "scalar":
        raise InputError(f"{path}: found voxels of kind {kind}, expected one number for each")


def check_room(path: Path, *, stored: int, expected: int, voxels: int, compressed: bool) -> None:
    """Raise an `InputError` if a header promises more than its file or the memory can hold; reads nothing.

    Args:
        path: of the file.
        stored: bytes of voxels on the disk.
        expected: bytes of voxels by the header, uncompressed.
        voxels: how many by the header.
        compressed: whether `stored` counts compressed bytes.
    """
    if expected > stored * (EXPANSION if compressed else 1):
        raise InputError(
            f"{path}: found {stored:,} bytes{' compressed' * compressed}, expected {expected:,} by its header "
            "(truncated or damaged?)"
        )
    needed, there = expected + 8 * voxels, available_memory()  # read, then float32 in two layouts
    if needed > there:
        raise InputError(f"{path}: found {there / 1e9:.1f} GB of memory, expected {needed / 1e9:.1f} GB to read it")


def check_end(stream: BinaryIO, path: Path) -> None:
    """Raise an `InputError` for bytes after the voxels. Reading to the end also checks a gzip's CRC."""
    if stream.read(1):
        raise InputError(f"{path}: found bytes after its last voxel, expected none (a wrong shape in its header?)")


def fill(stream: BinaryIO, buffer: memoryview, path: Path) -> None:
    """Read exactly as many bytes as `buffer` has, or raise an `InputError`."""
    done = 0
    while done < len(buffer):
        count = stream.readinto(buffer[done : done + BLOCK])
        if not count:
            raise InputError(
                f"{path}: found {done:,} bytes of voxels, expected {len(buffer):,} (truncated or damaged?)"
            )
        done += count
