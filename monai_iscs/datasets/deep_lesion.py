# SPDX-License-Identifier: Apache-2.0
"""CT of DeepLesion: runs of 16-bit PNG slices, with their distances in a table."""

from __future__ import annotations

import math
import re
import tempfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import itk
import numpy as np
import torch
from monai.data import MetaTensor

from monai_iscs.datasets.lesion_table import TABLE, Series, read_table
from monai_iscs.datasets.volumes import ArchivedVolume, refuse_other, tell_left_out
from monai_iscs.errors import InputError

OFFSET = 32768  # of the stored values above HU
_SLICE = re.compile(r"(?:.*/)?(\d{6}_\d{2}_\d{2})/(\d+)\.png")  # 000001_01_01/103.png: patient, study, series; slice
_Slices = dict[int, tuple[Path, str]]  # by index: the folder or zip file, and the path in it


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
    table, images = read_table(tables[0]), _find_slices(folder)
    if not images:
        raise refuse_other(folder, {TABLE: 1}, "16-bit images such as Images_png/000001_01_01/103.png beside it")
    volumes, left_out = [], Counter()
    for name, slices in sorted(images.items()):
        if name not in table:
            raise InputError(f"{tables[0]}: found no row of {name}, expected one for each folder of images")
        series = table[name]
        for run in runs(sorted(slices)):
            if len(run) == 1:
                left_out["run of one slice"] += 1
                continue
            span = f"{name}_{run[0]:03d}-{run[-1]:03d}"
            container, inside = slices[run[0]]
            source = container.relative_to(folder) / Path(inside).parent
            load = partial(_load, {index: slices[index] for index in run}, sorted(slices), series)
            volumes.append(ArchivedVolume(span, series.patient, series.split, source.as_posix(), load))
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


def _find_slices(folder: Path) -> dict[str, _Slices]:
    """Where the slices of each series are: unpacked, or in zip files."""
    images: dict[str, _Slices] = defaultdict(dict)
    for path in folder.rglob("*.png"):
        inside = path.relative_to(folder).as_posix()
        if found := _SLICE.fullmatch(inside):
            images[found[1]][int(found[2])] = (folder, inside)
    for path in sorted(folder.rglob("*.zip")):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except (zipfile.BadZipFile, OSError) as error:
            raise InputError(f"{path}: found a truncated or damaged file, expected a zip file of DeepLesion") from error
        for name in names:
            if found := _SLICE.fullmatch(name):
                images[found[1]].setdefault(int(found[2]), (path, name))
    return images


def _load(run: Mapping[int, tuple[Path, str]], there: Sequence[int], series: Series) -> MetaTensor:
    """Reads a run of slices, (1, X, Y, Z) in HU.

    Rows go to the back and columns to the left, as in DICOM; later slices are nearer to the feet, as in the authors'
    own NIfTI files. The archive does not say where the scanner was: the first voxel is at the origin.
    """
    container, inside = next(iter(run.values()))
    missing = sorted(series.slices.difference(there))
    if missing:
        raise InputError(
            f"{container / Path(inside).parent}: found no slice {missing[0]}, one of {len(missing)} that are missing, "
            f"expected all that Slice_range of {TABLE} names (unpack it again?)"
        )
    with ExitStack() as stack:
        pixels = [_pixels(*place, stack) for place in run.values()]
    for place, one in zip(run.values(), pixels, strict=True):
        if one.shape != pixels[0].shape:
            found = f"{one.shape[1]} x {one.shape[0]} pixels, expected {pixels[0].shape[1]} x {pixels[0].shape[0]}"
            raise InputError(f"{Path(*place)}: found {found}, as in the slice before")
    stored = np.stack(pixels, axis=-1).transpose(1, 0, 2)
    values = torch.from_numpy(np.subtract(stored, OFFSET, dtype=np.float32))
    affine = np.diag([*(-side for side in series.spacing), 1.0])
    name = f"{container / Path(inside).parent}, slices {min(run)} to {max(run)}"
    return MetaTensor(values[None], affine=torch.from_numpy(affine), meta={"filename_or_obj": name})


def _pixels(container: Path, inside: str, stack: ExitStack) -> np.ndarray:
    """The stored values of a slice, (rows, columns), uint16."""
    path = container / inside
    try:
        if container.is_file():  # ITK reads from the disk only
            archive = stack.enter_context(zipfile.ZipFile(container))
            path = Path(archive.extract(inside, stack.enter_context(tempfile.TemporaryDirectory())))
        values = itk.array_from_image(itk.imread(str(path)))
    except (RuntimeError, zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{container / inside}: found a truncated or damaged file, expected a PNG image") from error
    if values.dtype != np.uint16 or values.ndim != 2:
        kind = f"{8 * values.dtype.itemsize}-bit values of {math.prod(values.shape[2:])} channels"
        raise InputError(f"{container / inside}: found {kind}, expected 16-bit grey values ({OFFSET} above HU)")
    return values
