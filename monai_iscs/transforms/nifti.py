# SPDX-License-Identifier: Apache-2.0
"""Reading NIfTI files to their end, in mm."""

from __future__ import annotations

import gzip
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from monai.config import PathLike
from monai.data import NibabelReader
from nibabel import Nifti1Header, Nifti1Image, Nifti2Header, Nifti2Image
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import apply_read_scaling

from monai_iscs.errors import InputError
from monai_iscs.transforms.stored import check_end, check_real, check_room, fill, millimetres

UNITS = {0: "", 1: "m", 2: "mm", 3: "um"}  # of length, by the lowest three bits of xyzt_units
GZIP = b"\x1f\x8b"
SAME_SIZE = 0.01  # share by which the voxel sizes of sform and qform may differ
SAME_AXIS = math.cos(math.radians(45))  # largest angle: sform and qform may be registered to different targets


class NiftiReader(NibabelReader):
    """Reads one NIfTI-1 or NIfTI-2 file in one pass to its end, which checks a gzip's CRC; lengths become mm.

    nibabel stops at the last voxel, before the CRC, and leaves lengths in the header's units.
    """

    def read(self, data: Sequence[PathLike] | PathLike, **_: Any) -> Nifti1Image:
        """Read a file.

        Raises:
            InputError: a wrong header or wrong bytes; voxels that are not real numbers.
        """
        (name,) = self.filenames = (data,) if isinstance(data, PathLike) else tuple(data)
        path = Path(name)
        with path.open("rb") as file:
            compressed = file.read(2) == GZIP
            file.seek(0)
            stream = gzip.GzipFile(fileobj=file) if compressed else file
            header = _read_header(stream, path)
            values = _read_voxels(stream, header, path, compressed=compressed)
        affine = _affine(header, path)
        header.set_data_shape(values.shape)
        return (Nifti2Image if isinstance(header, Nifti2Header) else Nifti1Image)(values, affine, header)


def _read_header(stream: BinaryIO, path: Path) -> Nifti1Header:
    """The unchanged header of the file; nibabel would turn a voxel size of 0 into 1."""
    start = stream.read(348)
    if len(start) < 348:
        raise InputError(f"{path}: found no whole NIfTI header, expected a NIfTI file (truncated or damaged?)")
    size = {int.from_bytes(start[:4], order) for order in ("little", "big")}
    kind = Nifti2Header if 540 in size else Nifti1Header
    if kind is Nifti2Header:
        start += stream.read(540 - 348)
    magic = start[4:8] if kind is Nifti2Header else start[344:348]
    if not size & {348, 540} or magic[:3] not in (b"n+1", b"n+2"):
        raise InputError(f"{path}: found no NIfTI header, expected a single-file NIfTI (truncated or damaged?)")
    return kind(start, check=False)


def _read_voxels(stream: BinaryIO, header: Nifti1Header, path: Path, *, compressed: bool) -> np.ndarray:
    """(X, Y, Z) or (X, Y, Z, ...), scaled as the header says; axes of one voxel after the third are dropped."""
    shape = tuple(int(n) for n in header.get_data_shape())
    if not shape or min(shape) < 1:
        raise InputError(f"{path}: found a volume of shape {shape}, expected at least 2 voxels along every axis")
    if set(shape[3:]) == {1}:
        shape = shape[:3]
    dtype = header.get_data_dtype()
    check_real({"c": "complex", "V": "rgb or structured"}.get(dtype.kind, "scalar"), path)
    count = math.prod(shape)
    offset, expected = float(header["vox_offset"]), count * dtype.itemsize
    if not stream.tell() <= offset < 2**40:
        raise InputError(f"{path}: found its voxels at byte {offset:g}, expected them after its header")
    check_room(
        path,
        stored=path.stat().st_size - (0 if compressed else int(offset)),
        expected=expected,
        voxels=count,
        compressed=compressed,
    )
    skipped = int(offset) - stream.tell()  # extensions of the header
    if len(stream.read(skipped)) < skipped:
        raise InputError(f"{path}: found no voxels, expected {expected:,} bytes of them (truncated or damaged?)")
    values = np.empty(shape, dtype, order="F")
    fill(stream, memoryview(values.reshape(-1, order="F")).cast("B"), path)
    check_end(stream, path)
    if not math.isfinite(float(header["scl_slope"])) and not math.isnan(float(header["scl_slope"])):
        raise InputError(
            f"{path}: found a scaling of its values by {float(header['scl_slope'])}, expected a finite number"
        )
    slope, intercept = header.get_slope_inter()
    return values if slope is None else apply_read_scaling(values, slope, intercept)


def _affine(header: Nifti1Header, path: Path) -> np.ndarray:
    """The affine in mm, also written to the header: the sform, else the qform, else the voxel size alone."""
    code = int(header["xyzt_units"]) & 7
    factor = millimetres(UNITS.get(code, f"code {code}"), path)
    header["pixdim"][1:4] = np.abs(header["pixdim"][1:4])  # as nibabel does
    if header["pixdim"][0] not in (-1, 1):
        header["pixdim"][0] = 1
    if int(header["sform_code"]) <= 0 and not (header["pixdim"][1:4] > 0).all():
        sizes = " x ".join(f"{size:g}" for size in header["pixdim"][1:4])
        raise InputError(f"{path}: found a singular affine with voxels of {sizes}, expected sizes above 0")
    try:
        qform = header.get_qform(coded=True)[0]
    except (HeaderDataError, ValueError) as error:
        raise InputError(f"{path}: found a bad qform in its header ({error}), expected a rotation") from error
    _check_agreement(header.get_sform(coded=True)[0], qform, path)
    for field in ("srow_x", "srow_y", "srow_z", "qoffset_x", "qoffset_y", "qoffset_z"):
        header[field] *= factor
    header["pixdim"][1:4] *= factor
    header.set_xyzt_units("mm", None)
    affine = header.get_best_affine()
    if not np.isfinite(affine).all():
        raise InputError(f"{path}: found NaN or infinite numbers in its sform or qform, expected a finite affine")
    return affine


def _check_agreement(sform: np.ndarray | None, qform: np.ndarray | None, path: Path) -> None:
    """Raise an `InputError` where sform and qform, if a header has both, contradict each other."""
    if sform is None or qform is None:
        return
    sizes = [np.linalg.norm(form[:3, :3], axis=0) for form in (sform, qform)]
    if not np.allclose(*sizes, rtol=SAME_SIZE, atol=0):
        found = " and ".join(" x ".join(f"{size:.4g}" for size in three) for three in sizes)
        raise InputError(f"{path}: found voxels of {found} in its sform and its qform, expected one size")
    cosines = (sform[:3, :3] / sizes[0] * (qform[:3, :3] / sizes[1])).sum(0)
    if not (cosines > SAME_AXIS).all():
        raise InputError(
            f"{path}: found different directions of a voxel axis in its sform and its qform, expected the same"
        )
