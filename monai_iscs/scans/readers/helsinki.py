# SPDX-License-Identifier: Apache-2.0
"""Sinograms of the Helsinki Tomography Challenge 2022 and others of that laboratory: a `CtData` struct of MATLAB."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.scans.readers.naming import missing_package
from monai_iscs.scans.readers.options import Options
from monai_iscs.scans.readers.recording import Recording
from monai_iscs.scans.readers.stack import Stack

PREFERRED = ("CtDataFull", "CtData", "CtDataLimited")


def read_helsinki(path: Path, options: Options) -> Recording:
    """The line integrals of one detector row, of the most complete scan in the file; angles in degrees."""
    options.refuse("geometry", because="the file has its own")
    content = _load(path)
    scans = {name: value for name, value in content.items() if isinstance(value, Mapping) and "sinogram" in value}
    name = next((name for name in (*PREFERRED, *scans) if name in scans), None)
    if name is None:
        raise InputError(
            f"found {', '.join(content) or 'nothing'} in it, expected a CtData with sinogram and parameters"
        )
    others = tuple(sorted(set(scans) - {name}))
    notes = (f"{name} was read; the file holds {', '.join(others)}, too",) if others else ()
    sinogram = np.atleast_2d(np.asarray(scans[name]["sinogram"]))
    if sinogram.ndim != 2 or sinogram.dtype.kind not in "fiu":
        raise InputError(f"found a sinogram {sinogram.shape} of {sinogram.dtype}, expected numbers (views, columns)")
    stack = _stack(path, sinogram)
    return Recording(
        stack=stack,
        geometry=_geometry(scans[name]["parameters"], stack.shape[1:]),
        kind="line-integrals",
        notes=notes,
    )


def _stack(path: Path, sinogram: np.ndarray) -> Stack:
    def frames(indices: Sequence[int]) -> Iterator[np.ndarray]:
        return (sinogram[index][None] for index in indices)

    return Stack(path=path, shape=(len(sinogram), 1, sinogram.shape[1]), dtype=sinogram.dtype, frames=frames)


def _geometry(parameters: Mapping[str, Any], shape: tuple[int, int]) -> ConeBeamGeometry:
    if (unit := parameters.get("distanceUnit", "mm")) != "mm":
        raise InputError(f"found lengths in {unit}, expected mm")
    pitch = float(parameters["pixelSizePost" if "pixelSizePost" in parameters else "pixelSize"])
    return ConeBeamGeometry.circular(
        source_to_isocenter=float(parameters["distanceSourceOrigin"]),
        source_to_detector=float(parameters["distanceSourceDetector"]),
        angles=np.radians(np.ravel(parameters["angles"])),
        detector_shape=shape,
        detector_pitch=(pitch, pitch),
    )


def _load(path: Path) -> dict[str, Any]:
    """The variables of a MATLAB file of version 5 or 7.3."""
    from scipy.io import loadmat

    try:
        content = loadmat(path, simplify_cells=True)
    except NotImplementedError:  # version 7.3, which is HDF5
        return _load_hdf5(path)
    return {name: value for name, value in content.items() if not name.startswith("__")}


def _load_hdf5(path: Path) -> dict[str, Any]:
    try:
        import h5py
    except ImportError:
        raise missing_package("h5py", "projections") from None

    def plain(item: Any) -> Any:
        if isinstance(item, h5py.Group):
            return {name: plain(inner) for name, inner in item.items()}
        values = item[()]
        if item.attrs.get("MATLAB_class") == b"char":
            return "".join(map(chr, np.ravel(values)))
        return np.squeeze(values.T) if values.ndim < 2 or 1 in values.shape else values.T

    with h5py.File(path) as file:
        return {name: plain(item) for name, item in file.items() if not name.startswith("#")}
