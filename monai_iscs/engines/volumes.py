# SPDX-License-Identifier: Apache-2.0
"""The volumes of a folder, and names for their results."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from itertools import count
from os import PathLike
from pathlib import Path

from monai.data import FolderLayoutBase

from monai_iscs.dicom import DICOM, is_dicom, is_hidden
from monai_iscs.errors import InputError, InputWarning
from monai_iscs.transforms.dicom_files import is_text, read_header
from monai_iscs.transforms.itk_files import DETACHED
from monai_iscs.transforms.load import ITK, NIFTI

_RAW = (".raw", ".zraw", ".raw.gz", ".img", ".img.gz")


def list_volumes(folder: str | PathLike[str]) -> list[str]:
    """Every volume of a folder that `LoadVolume` reads, sorted by name.

    These are NIfTI, NRRD and MHA files, multi-frame DICOM files, each folder in it with DICOM files, and the folder
    itself if it has single DICOM slices. Everything else except text is left out with an `InputWarning`.

    Raises:
        InputError: the folder does not exist or has no volume.
    """
    folder = Path(folder).expanduser()
    there = sorted(path for path in folder.glob("*") if not is_hidden(path))
    headers = {path.name.removesuffix(path.suffix) for path in there if path.suffix.lower() in DETACHED}
    volumes, left_out = set(), []
    for path in there:
        if path.is_dir():
            found = path if any(is_dicom(file) for file in path.iterdir()) else None
        elif path.name.lower().endswith((*NIFTI, *ITK)):
            found = path
        elif path.is_file() and is_dicom(path):
            found = path if int(read_header(path).get("NumberOfFrames") or 1) > 1 else folder
        elif path.name.lower().endswith(_RAW) and stem(path, _RAW) in headers:
            continue
        else:
            found = None
        if found:
            volumes.add(str(found))
        elif not path.is_file() or not is_text(path):
            left_out.append(path.name)
    said = f"{len(left_out)} other files ({', '.join(left_out[:5])})" if left_out else ""
    if not volumes:
        what = f"found {said or ('no volumes' if folder.is_dir() else 'no such folder')}"
        raise InputError(f"{folder}: {what}, expected a folder with volumes ({', '.join((*NIFTI, *ITK))} or DICOM)")
    if left_out:
        warnings.warn(f"{folder}: found {len(volumes)} volumes, left out {said}", InputWarning, stacklevel=2)
    return sorted(volumes)


def volume_names(files: Sequence[str | PathLike[str]]) -> list[str]:
    """A unique name for each volume, also on systems that ignore case.

    It is the file's name without the ending of its type, such as "1.2.840.1" of "1.2.840.1.nii.gz"; if volumes share
    that, it is the file's whole name, with a number if they share that as well.
    """
    paths = [Path(os.path.abspath(file)) for file in files]  # links keep their names
    stems = [volume_stem(path) for path in paths]
    shared = Counter(name.casefold() for name in stems)
    names: dict[str, str] = {}
    for path, name in zip(paths, stems, strict=True):
        name = name if shared[name.casefold()] == 1 else path.name
        tries = (name if number == 1 else f"{name}-{number}" for number in count(1))
        name = next(one for one in tries if one.casefold() not in names)
        names[name.casefold()] = name
    return list(names.values())


def volume_stem(path: Path) -> str:
    """A volume's name without the ending of its type; a folder's whole name."""
    return path.name if path.is_dir() else stem(path, (*NIFTI, *ITK, *DICOM))


def stem(path: Path, endings: Sequence[str]) -> str:
    """A file's name without the longest of its endings among some, in any case."""
    has = [ending for ending in endings if path.name.lower().endswith(ending)]
    return path.name[: -max(map(len, has))] if has else path.name


class ResultLayout(FolderLayoutBase):
    """The files to which MONAI's `SaveImage` writes the results of volumes, one for each, see `volume_names`.

    Args:
        output_dir: folder of the results.
        files: the volumes.
    """

    def __init__(self, output_dir: str | PathLike[str], *, files: Sequence[str]) -> None:
        self.output_dir = Path(output_dir)
        self.files = [str(Path(file).expanduser()) for file in files]

    def filename(self, subject: str, **kwargs: object) -> str:
        """The path of the result of the volume `subject`, in a folder that exists."""
        files = self.files if subject in self.files else [*self.files, subject]
        name = volume_names(files)[files.index(subject)]
        self.output_dir.mkdir(parents=True, exist_ok=True)
        return str(self.output_dir / f"{name}_reconstruction.nii.gz")
