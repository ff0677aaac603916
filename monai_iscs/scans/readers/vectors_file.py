# SPDX-License-Identifier: Apache-2.0
"""Geometries as 12 numbers a view, the way ASTRA's `cone_vec` has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.scans.readers.naming import naming_file
from monai_iscs.scans.readers.options import UNITS, Options
from monai_iscs.scans.readers.recording import Recording
from monai_iscs.scans.readers.stack import open_stack

SUFFIXES = (".npy", ".geom", ".txt", ".csv", ".vec")


def read_vectors(path: Path, file: Path, options: Options) -> Recording:
    """Images with a file of vectors: source, detector's centre, step from column to column, from row to row.

    The file is an array (views, 12) of NumPy, or text with a line a view. It has no unit, which has to be said, and
    nothing says what the images' numbers are. The frame is the vectors'.
    """
    with naming_file(file):
        vectors = _load(file)
        if options.scale is None:
            raise InputError(f"found vectors without a unit, expected one to be given: unit {', '.join(UNITS)}")
        stack = open_stack(path, views=len(vectors))
        geometry = ConeBeamGeometry.from_vectors(vectors * options.scale, detector_shape=stack.shape[1:])
    return Recording(stack=stack, geometry=geometry)


def _load(file: Path) -> np.ndarray:
    if file.suffix.lower() == ".npy":
        vectors = np.load(file, allow_pickle=False)
    else:
        lines = file.read_text(encoding="utf-8").replace(",", " ").replace(";", " ").splitlines()
        words = [line.split("#")[0].split() for line in lines]
        lengths = {len(line) for line in words if line}
        if lengths != {12}:
            found = " or ".join(map(str, sorted(lengths))) or "no"
            raise InputError(f"found {found} numbers in a line, expected 12: source, detector's centre, u, v")
        try:
            vectors = np.array([[float(word) for word in line] for line in words if line])
        except ValueError as error:
            raise InputError(f"found text in it ({error}), expected 12 numbers a line") from None
    if vectors.ndim != 2 or vectors.shape[1] != 12 or vectors.dtype.kind not in "fiu":
        raise InputError(f"found shape {vectors.shape} of {vectors.dtype}, expected numbers (views, 12)")
    return vectors.astype(np.float64)
