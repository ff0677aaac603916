# SPDX-License-Identifier: Apache-2.0
"""What the readers of volume files check alike: units, kinds of values, and whether all bytes are there, undamaged."""

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
EXPANSION = 1032  # most bytes that one byte of a deflated file stands for
BLOCK = 2**20


def millimetres(unit: str, path: Path) -> float:
    """Millimetres in a header's unit of length; no unit, "?" or "???" is taken as mm, as everybody writes it.

    Raises:
        InputError: a unit of something else.
    """
    name = unit.strip().strip('"').strip().lower()
    if not name.strip("?") or name in ("none", "unknown"):
        return 1.0
    for factor, names in MILLIMETRES.items():
        if name in names or name.removesuffix("s") in names:
            return factor
    raise InputError(f"{path}: found {unit.strip()!r} as unit of its voxel size, expected one of length, such as mm")


def check_real(kind: str, path: Path) -> None:
    """Raise an `InputError` for voxels that are no real numbers.

    Args:
        kind: what a voxel is, such as "complex", "rgb", or "scalar", which passes.
        path: of the file.
    """
    if kind == "complex":
        raise InputError(
            f"{path}: found complex voxels, expected real ones (magnitudes of MR, HU of CT): write its magnitude first"
        )
    if kind != "scalar":
        raise InputError(f"{path}: found voxels of kind {kind}, expected one number for each")


def check_room(path: Path, *, stored: int, expected: int, voxels: int, compressed: bool) -> None:
    """Raise an `InputError` where a header promises more than its file or the memory can hold; reads nothing.

    Args:
        path: of the file.
        stored: bytes of voxels on the disk.
        expected: bytes of voxels by the header, uncompressed.
        voxels: how many by the header.
        compressed: whether `stored` counts compressed bytes.
    """
    if expected > stored * (EXPANSION if compressed else 1):
        raise InputError(
            f"{path}: can't be read, truncated or damaged? (found {stored:,} bytes{' compressed' * compressed}, "
            f"expected {expected:,} by its header)"
        )
    needed, there = expected + 8 * voxels, available_memory()  # read, then float32 in two layouts
    if needed > there:
        raise InputError(f"{path}: reading it takes {needed / 1e9:.1f} GB of memory, found {there / 1e9:.1f} GB")


def check_end(stream: BinaryIO, path: Path) -> None:
    """Raise an `InputError` for bytes behind the voxels. Reading at its end is what checks a gzip's CRC."""
    if stream.read(1):
        raise InputError(f"{path}: found bytes behind its last voxel, expected none (a wrong shape in its header?)")


def fill(stream: BinaryIO, buffer: memoryview, path: Path) -> None:
    """Read exactly as many bytes as `buffer` has, or raise an `InputError`."""
    done = 0
    while done < len(buffer):
        count = stream.readinto(buffer[done : done + BLOCK])
        if not count:
            raise InputError(
                f"{path}: can't be read, truncated or damaged? (found {done:,} bytes, expected {len(buffer):,})"
            )
        done += count
