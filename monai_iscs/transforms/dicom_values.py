# SPDX-License-Identifier: Apache-2.0
"""The stored values of a DICOM file, before any rescale."""

from __future__ import annotations

from pathlib import Path

import itk
import numpy as np
import pydicom
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from monai_iscs.errors import InputError


def stored_values(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The grey values of a file, (frames, rows, columns), and a mask of its padding; None if the file defines none.

    Raises:
        InputError: it has no pixels, they are not grey values, or their bits are arranged in an unknown way.
        Exception: of many kinds, if the file is damaged.
    """
    header = pydicom.dcmread(path, force=True)
    if not any(keyword in header for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise InputError(f"{path}: found no pixels, expected a DICOM image (truncated or damaged?)")
    kind = header.get("PhotometricInterpretation")
    if header.get("SamplesPerPixel", 1) != 1 or kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise InputError(f"{path}: found {kind} pixels, expected one grey value each")
    if "HighBit" in header and header.HighBit != header.BitsStored - 1:
        raise InputError(f"{path}: found HighBit {header.HighBit}, expected {header.BitsStored - 1}")
    if "TransferSyntaxUID" not in header.file_meta:  # as in files without a prefix
        implicit, little = header.original_encoding
        named = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        header.file_meta.TransferSyntaxUID = named
    compressed = header.file_meta.TransferSyntaxUID.is_compressed
    values = _decompressed(path, kind) if compressed else header.pixel_array
    values = values.reshape(-1, header.Rows, header.Columns)
    padding = header.get("PixelPaddingValue")
    if padding is None:
        return values, None
    limits = [padding, header.get("PixelPaddingRangeLimit", padding)]
    # some files write a negative number as the unsigned one of the same bits
    low, high = sorted(np.asarray(limits).astype(values.dtype).tolist())
    return values, (values >= low) & (values <= high)


def _decompressed(path: Path, kind: str) -> np.ndarray:
    """Stored values of a compressed file: decoded by ITK, whose rescale is undone."""
    if kind == "MONOCHROME1":  # ITK inverts it within a range that it does not report
        raise InputError(f"{path}: found compressed {kind}, expected MONOCHROME2 or uncompressed files")
    reader = itk.GDCMImageIO.New()
    values = itk.array_from_image(itk.imread(str(path), imageio=reader)).astype(np.float64)
    return np.rint((values - reader.GetRescaleIntercept()) / reader.GetRescaleSlope()).astype(np.int32)
