# SPDX-License-Identifier: Apache-2.0
"""T1-weighted brains of IXI, from its tar file or unpacked."""

from __future__ import annotations

import re
import shutil
import tarfile
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import NamedTuple

from monai.data import MetaTensor

from monai_iscs.datasets.volumes import ArchivedVolume, refuse_other, split_by_hash, tell_left_out
from monai_iscs.errors import InputError
from monai_iscs.transforms.load import LoadVolume

# IXI002-Guys-0828-T1.nii.gz: number of the person, hospital, number of the scan, sequence
_NAME = re.compile(r"(IXI\d{3})-[A-Za-z]+-\d{4}-(T1|T2|PD|MRA|DTI)(-\d+)?\.nii\.gz")


class _File(NamedTuple):
    """A scan on the disk, or a member of a tar file."""

    path: Path
    member: tarfile.TarInfo | None = None

    @property
    def shown(self) -> Path:
        """The path to show, of members too."""
        return self.path / self.member.name if self.member else self.path


def find_ixi(folder: Path) -> list[ArchivedVolume]:
    """The T1-weighted scans of IXI; other sequences are left out.

    IXI has no split: a tenth of the persons, by hash, is in val.

    Args:
        folder: with ``IXI-T1.tar`` or what is in it, at any level; or the tar file itself.

    Raises:
        InputError: another data set, a damaged tar file, or fewer than two persons.
    """
    scans: dict[str, tuple[str, _File]] = {}
    left_out = Counter()
    for file in _files(folder):
        found = _NAME.fullmatch(file.shown.name)
        if found and found[2] == "T1":
            scans[found[0]] = (found[1], file)  # members of tar files come last and are whole: they count
        elif found:
            left_out[f"IXI {found[2]}"] += 1
    if not scans:
        raise refuse_other(folder, left_out, "IXI-T1.tar, or files such as IXI002-Guys-0828-T1.nii.gz")
    splits = split_by_hash(folder, {person for person, _ in scans.values()})
    tell_left_out(folder, left_out, f"{len(scans)} T1 scans")
    above = folder.parent if folder.is_file() else folder

    def source(path: Path) -> str:
        return path.relative_to(above).as_posix()

    return [
        ArchivedVolume(name.removesuffix(".nii.gz"), person, splits[person], source(file.shown), partial(_load, file))
        for name, (person, file) in sorted(scans.items())
    ]


def _files(folder: Path) -> list[_File]:
    """All NIfTI files below a folder, then those in its tar files."""
    plain = [] if folder.is_file() else [_File(path) for path in sorted(folder.rglob("*.nii.gz"))]
    members = []
    for path in [folder] if folder.is_file() else sorted(folder.rglob("*.tar")):
        try:
            with tarfile.open(path, "r:") as tar:
                members += [_File(path, member) for member in tar if member.isfile()]
        except tarfile.TarError as error:
            raise InputError(
                f"{path}: found a truncated or damaged file ({error}), expected a tar file of IXI"
            ) from error
    return plain + members


def _load(file: _File) -> MetaTensor:
    """Reads a scan; a member of a tar file is unpacked to a temporary file, whose name no message shows."""
    if file.member is None:
        return LoadVolume()(file.path)
    with tempfile.TemporaryDirectory() as temporary:
        unpacked = Path(temporary, "scan.nii.gz")
        with tarfile.open(file.path, "r:") as tar, unpacked.open("wb") as copy:
            shutil.copyfileobj(tar.extractfile(file.member), copy)
        try:
            image = LoadVolume()(unpacked)
        except InputError as error:
            raise InputError(str(error).replace(str(unpacked), str(file.shown))) from error
    image.meta["filename_or_obj"] = str(file.shown)
    return image
