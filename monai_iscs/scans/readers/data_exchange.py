# SPDX-License-Identifier: Apache-2.0
"""Synchrotron scans in Data Exchange (HDF5): parallel rays, white and dark fields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.scans.readers.naming import missing_package
from monai_iscs.scans.readers.options import Options
from monai_iscs.scans.readers.recording import Recording
from monai_iscs.scans.readers.stack import Stack

FAR = 1e5  # pixels from the axis to the source that stands for parallel rays
OPPOSITE = 1.5  # degrees that two opposite views may be off
SUFFIXES = (".h5", ".hdf5", ".hdf")


def read_data_exchange(path: Path, options: Options) -> Recording:
    """Counts of `exchange/data` with `data_white`, `data_dark` and `theta`.

    The rays are parallel: a source 100,000 pixels from the axis stands for them, and the detector's pixels have the
    given size on the axis. The column of the axis is found from two opposite views unless it is given.
    """
    try:
        import h5py
    except ImportError:
        raise missing_package("h5py", "projections") from None
    options.refuse("geometry", because="the file has its own")
    with h5py.File(path) as file:
        missing = [name for name in ("data", "theta") if f"exchange/{name}" not in file]
        if missing:
            raise InputError(f"found no exchange/{' or '.join(missing)} in it, expected Data Exchange")
        data = file["exchange/data"]
        if data.ndim != 3 or data.dtype.kind not in "fiu":
            raise InputError(f"found exchange/data {data.shape} of {data.dtype}, expected numbers (theta, y, x)")
        shape, dtype, theta = data.shape, data.dtype, _degrees(file["exchange/theta"])
        white, dark = (_mean(file, name, shape[1:]) for name in ("data_white", "data_dark"))

    def frames(indices: Sequence[int]) -> Iterator[np.ndarray]:
        with h5py.File(path) as file:
            for index in indices:
                yield file["exchange/data"][index]

    if options.pitch is None:
        raise InputError("found no pixel size in it, expected a detector_pitch (mm along v and u)")
    if len(theta) != shape[0]:
        raise InputError(f"found {len(theta)} angles in exchange/theta, expected one for each of {shape[0]} images")
    stack = Stack(path=path, shape=shape, dtype=dtype, frames=frames)
    axis, notes = options.axis_column, ()
    if axis is None:
        axis, notes = _axis_column(stack, theta, white, dark)
    elif axis > shape[2] - 1:
        raise InputError(f"axis_column: found {axis:g}, expected at most {shape[2] - 1} (counted from 0)")
    return Recording(
        stack=stack,
        geometry=_geometry(theta, shape[1:], options.pitch, axis),
        kind="counts",
        parallel=True,
        air=white,
        dark=0.0 if dark is None else dark,
        notes=(*notes, "the rays were taken as parallel; the file leaves open which way the object turned"),
    )


def _degrees(theta: Any) -> np.ndarray:
    unit = theta.attrs.get("units", "degrees")
    unit = (unit.decode() if isinstance(unit, bytes) else str(unit)).strip().lower()
    angles = np.ravel(theta[()]).astype(np.float64)
    if unit.startswith("rad"):
        return np.degrees(angles)
    if not unit.startswith("deg"):
        raise InputError(f"found exchange/theta in {unit}, expected degrees or radians")
    return angles


def _mean(file: Any, name: str, shape: tuple[int, int]) -> np.ndarray | None:
    """Average of the white or dark fields; None where there are none."""
    fields = file.get(f"exchange/{name}")
    if fields is None or not fields.size:
        return None
    if fields.ndim not in (2, 3) or fields.shape[-2:] != shape:
        raise InputError(f"found exchange/{name} {fields.shape}, expected (n, {shape[0]}, {shape[1]})")
    return fields[()].reshape(-1, *shape).mean(0, dtype=np.float64)


def _geometry(theta: np.ndarray, shape: tuple[int, int], pitch: tuple[float, float], axis: float) -> ConeBeamGeometry:
    """A far circle about z, with the first row on top; the column `axis` sees the axis."""
    far = FAR * pitch[1]
    behind = far + shape[1] * pitch[1]
    grown = behind / far
    scan = ConeBeamGeometry.circular(
        source_to_isocenter=far,
        source_to_detector=behind,
        angles=np.radians(theta - 90),  # so that column numbers rise along (cos theta, sin theta)
        detector_shape=shape,
        detector_pitch=(pitch[0] * grown, pitch[1] * grown),
        detector_offset=(0.0, ((shape[1] - 1) / 2 - axis) * pitch[1] * grown),
    )
    return replace(scan, v=-scan.v)


def _axis_column(
    stack: Stack, theta: np.ndarray, white: np.ndarray | None, dark: np.ndarray | None
) -> tuple[float, tuple[str, ...]]:
    """Where the first view and the opposite one, mirrored, lie on top of each other, by their cross-correlation."""
    off = np.abs(np.abs(theta - theta[0]) - 180)
    last = int(np.argmin(off))
    if off[last] > OPPOSITE:
        raise InputError(
            f"found no view opposite the first one ({off[last]:.3g} degrees off), expected axis_column=COLUMN"
        )
    dark = 0.0 if dark is None else dark
    counts = np.stack(list(stack.frames([0, last]))).astype(np.float64) - dark
    air = counts.max() if white is None else white - dark
    one, other = -np.log(np.maximum(counts, 1e-6 * np.abs(counts).max()) / np.maximum(air, 1e-6))
    columns = stack.shape[2]
    spectra = (np.fft.rfft(view, 2 * columns) for view in (one, other[:, ::-1]))
    correlation = np.fft.irfft((next(spectra).conj() * next(spectra)).sum(0))
    best = int(np.argmax(correlation))
    before, here, after = (correlation[(best + step) % (2 * columns)] for step in (-1, 0, 1))
    curve = before - 2 * here + after
    shift = best + (0.5 * (before - after) / curve if curve else 0.0)
    shift -= 2 * columns * (shift > columns)
    axis = (columns - 1 - shift) / 2
    return axis, (f"the rotation axis was found in column {axis:.2f}, from views 0 and {last}",)
