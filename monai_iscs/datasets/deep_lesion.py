# SPDX-License-Identifier: Apache-2.0
"""CT of DeepLesion: runs of 16-bit PNG slices, with their distances in a table."""

from __future__ import annotations

import math
import os
import re
import tempfile
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from typing import NamedTuple

import itk
import numpy as np
import torch
from monai.data import MetaTensor

from monai_iscs.datasets.lesion_table import TABLE, read_table
from monai_iscs.datasets.volumes import ArchivedVolume, refuse_other, tell_left_out
from monai_iscs.errors import InputError

OFFSET = 32768  # of the stored values above HU
MOST_DIFFERENT = 0.01  # share by which the spacings of one series may differ: they are rounded
_SERIES = re.compile(r"\d{6}_\d{2}_\d{2}")  # a folder of images: patient, study, series
_SLICE = re.compile(r"\d+\.png")  # by its index in the series


class _Image(NamedTuple):
    """A PNG file on the disk, or packed.

    Attributes:
        path: to show; of a packed file it begins with that of the zip file.
        packed: the zip file and the name in it, or None.
    """

    path: Path
    packed: tuple[zipfile.ZipFile, str] | None = None


def find_deep_lesion(folder: Path) -> list[ArchivedVolume]:
    """Every run of consecutive slices of DeepLesion, as a volume, in the split of the data set's own table.

    The archive has some slices above and below each lesion: a series has one run or several. A run of one slice is no
    volume and is left out.

    Args:
        folder: with ``DL_info.csv`` and the PNG files, in ``Images_png`` or still in ``Images_png_01.zip`` and so on.

    Raises:
        InputError: another data set, a table without the columns that are read or with a patient in two splits, or
            images of a series that the table does not have.
    """
    tables = sorted([*folder.glob(TABLE), *folder.glob(f"*/{TABLE}")])
    if not tables:
        raise refuse_other(folder, {}, f"{TABLE} and the folder Images_png of DeepLesion")
    table, images = read_table(tables[0]), _find_images(folder)
    if not images:
        raise refuse_other(folder, {TABLE: 1}, "16-bit images such as Images_png/000001_01_01/103.png beside it")
    volumes, left_out = [], Counter()
    for name, slices in sorted(images.items()):
        if name not in table:
            raise InputError(f"{tables[0]}: found no row of {name}, expected one for each folder of images")
        series = table[name]
        missing = sorted(series.slices.difference(slices))
        for run in runs(sorted(slices)):
            if len(run) == 1:
                left_out["run of one slice"] += 1
                continue
            source = slices[run[0]].path.parent.relative_to(folder).as_posix()
            load = partial(_load, {index: slices[index] for index in run}, series.spacings, missing)
            span = f"{name}_{run[0]:03d}-{run[-1]:03d}"
            volumes.append(ArchivedVolume(span, series.patient, series.split, source, load))
    tell_left_out(folder, left_out, f"{len(volumes)} runs of slices")
    return volumes


def runs(indices: Sequence[int]) -> list[list[int]]:
    """Rising indices, cut where one is missing."""
    cut: list[list[int]] = []
    for index in indices:
        if cut and index == cut[-1][-1] + 1:
            cut[-1].append(index)
        else:
            cut.append([index])
    return cut


def _find_images(folder: Path) -> dict[str, dict[int, _Image]]:
    """The slices of each series by index, unpacked or in zip files."""
    images: dict[str, dict[int, _Image]] = defaultdict(dict)

    def add(path: Path, packed: tuple[zipfile.ZipFile, str] | None = None) -> None:
        if _SERIES.fullmatch(path.parent.name) and _SLICE.fullmatch(path.name):
            images[path.parent.name].setdefault(int(path.stem), _Image(path, packed))

    packages = []
    for place, _, names in os.walk(folder):
        if _SERIES.fullmatch(os.path.basename(place)):
            for name in names:
                add(Path(place, name))
        packages += [Path(place, name) for name in names if name.lower().endswith(".zip")]
    for path in sorted(packages):
        try:
            package = zipfile.ZipFile(path)  # stays open, as its list of names is long
        except (zipfile.BadZipFile, OSError) as error:
            raise InputError(f"{path}: found a truncated or damaged file, expected a zip file of DeepLesion") from error
        for name in package.namelist():
            add(path / name, (package, name))
    return images


def _load(run: Mapping[int, _Image], spacings: Set[tuple[float, ...]], missing: Sequence[int]) -> MetaTensor:
    """Reads a run of slices, (1, X, Y, Z) in HU.

    Rows go to the back and columns to the left, as in DICOM; later slices are nearer to the feet, as in the authors'
    own NIfTI files. The archive does not say where the scanner was: the first voxel is at the origin.
    """
    place = next(iter(run.values())).path.parent
    if missing:
        raise InputError(
            f"{place}: found no slice {missing[0]}, one of {len(missing)} that are missing, expected all that "
            f"Slice_range of {TABLE} names (unpack it again?)"
        )
    spacing, *others = sorted(spacings)
    if not np.allclose(others or spacing, spacing, rtol=MOST_DIFFERENT, atol=0):
        raise InputError(f"{place}: found spacings of {spacing} and {others[-1]} mm in {TABLE}, expected one")
    with tempfile.TemporaryDirectory() as temporary:
        pixels = [_pixels(image, temporary) for image in run.values()]
    rows, columns = pixels[0].shape
    for image, one in zip(run.values(), pixels, strict=True):
        if one.shape != (rows, columns):
            found = f"{one.shape[1]} x {one.shape[0]} pixels, expected {columns} x {rows}"
            raise InputError(f"{image.path}: found {found}, as in the slices before")
    stored = np.stack(pixels, axis=-1).transpose(1, 0, 2)
    values = torch.from_numpy(np.subtract(stored, OFFSET, dtype=np.float32))
    affine = np.diag([*(-side for side in spacing), 1.0])
    name = f"{place}, slices {min(run)} to {max(run)}"
    return MetaTensor(values[None], affine=torch.from_numpy(affine), meta={"filename_or_obj": name})


def _pixels(image: _Image, temporary: str) -> np.ndarray:
    """The stored values of a slice, (rows, columns), uint16."""
    path = image.path
    try:
        if image.packed:  # ITK reads from the disk only
            package, name = image.packed
            path = Path(package.extract(name, temporary))
        values = itk.array_from_image(itk.imread(str(path)))
    except (RuntimeError, zipfile.BadZipFile, zlib.error, OSError) as error:
        raise InputError(f"{image.path}: found a truncated or damaged file, expected a PNG image") from error
    if values.dtype != np.uint16 or values.ndim != 2:
        kind = f"{8 * values.dtype.itemsize}-bit values of {math.prod(values.shape[2:])} channels"
        raise InputError(f"{image.path}: found {kind}, expected 16-bit grey values ({OFFSET} above HU)")
    return values
