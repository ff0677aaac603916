# SPDX-License-Identifier: Apache-2.0
"""The folder of a run: complete results or none, with earlier ones unchanged until then."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import ignite.distributed as idist
import nibabel
import numpy as np
from monai.data import MetaTensor

from monai_iscs.errors import InputError, OutputError
from monai_iscs.files import FolderLock, recover, sha256, staged, telling

RECORD = "run.json"


def _finite(content: Any) -> Any:
    """`content` with tuples as lists, and NaN and infinity, which JSON doesn't have, as None."""
    if isinstance(content, Mapping):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write `content` as indented JSON; NaN and infinity, which JSON doesn't have, become null."""
    Path(path).write_text(json.dumps(_finite(content), indent=2, allow_nan=False, default=str) + "\n")


def write_volume(path: str | os.PathLike[str], volume: MetaTensor, *, dtype: type[np.number] = np.float32) -> None:
    """Write a volume as NIfTI with its affine in sform and qform (code 1, scanner), in mm.

    Args:
        path: file name ending in .nii or .nii.gz.
        volume: (1, X, Y, Z) or (X, Y, Z), in the units to write.
        dtype: of the voxels in the file, which must be able to hold the values.
    """
    values = np.asarray(volume.detach().cpu().as_tensor(), dtype=dtype)
    image = nibabel.Nifti1Image(values.reshape(values.shape[-3:]), volume.affine.cpu().double().numpy())
    for set_form in (image.set_sform, image.set_qform):
        set_form(image.affine, code=1)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


class _Earlier(NamedTuple):
    """What lies in a folder before new results come."""

    names: list[str]  # of earlier results
    replaceable: set[str] | None  # names that new results may take; None: any
    folders: list[str]  # that hold nothing but earlier results, or nothing at all


class RunFolder:
    """An output folder: checked and locked at the start, filled all at once at the end.

    A set of results has a record, such as ``run.json``, that names the SHA-256 of each of its other files under
    "files". It is the first file to go when new results come and the last to come: without it there are no results.
    Files that no record names are the user's and stay. A result may be a folder; one that holds anything else is the
    user's.

    Args:
        path: the folder; created with its parents if missing.
        record: name of the record.
        inputs: files and folders that the run reads: no result may overwrite them or be inside them.

    Raises:
        InputError: if it is a file, is inside a folder of `inputs`, or can't be created or written.

    Example:
        >>> with RunFolder("runs/patient") as folder:          # before the long work
        ...     folder.expect("reconstruction.nii.gz")
        ...     volume = inferer(measurement, network)
        ...     with folder.results() as stage:                # after it
        ...         write_volume(stage / "reconstruction.nii.gz", volume)
        ...         write_json(stage / "run.json", record.as_dict())
    """

    def __init__(self, path: str | os.PathLike[str], *, record: str = RECORD, inputs: Iterable[Path] = ()) -> None:
        self.path, self.record = Path(path).expanduser(), record
        self._inputs = [Path(name) for name in inputs]
        self._lock: FolderLock | None = None
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path}: found a file, expected a folder for the output")
        real = self.path.resolve()
        for folder in (name for name in self._inputs if name.is_dir()):
            if folder.resolve() in (real, *real.parents):
                raise InputError(f"{self.path}: found an output inside the input {folder}, expected one outside")
        self._made = not self.path.exists()
        if idist.get_rank() > 0:  # the first process makes it, and removes what stays empty
            return
        with telling(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass

    def __enter__(self) -> RunFolder:
        """Locks the folder (only in the first of several processes) and removes what a killed run left there."""
        if idist.get_rank() == 0:
            self._lock = FolderLock(self.path)
            recover(self.path)
        return self

    def __exit__(self, *_: object) -> None:
        """Frees the folder, and removes it if it was created but stayed empty."""
        if self._lock is None:
            return
        if self._made:
            with suppress(OSError):
                self.path.rmdir()
        self._lock.release()

    def expect(self, *names: str, size: int = 0, ours: bool = False) -> None:
        """Checks, before long work, that results of these names can be written.

        Args:
            *names: of the files, without the record.
            size: of the results, at least, in bytes.
            ours: the whole folder belongs to this program: files of these names are not the user's.

        Raises:
            InputError: a folder, an input or a file of the user has one of the names, or the disk is too full.
        """
        if idist.get_rank() > 0:
            return
        earlier = self._earlier()
        for name in dict.fromkeys([*names, self.record, *earlier.names]):
            path = self.path / name
            if not os.path.lexists(path):
                continue
            if not path.is_symlink() and not path.is_file() and name not in earlier.folders:
                kind = "a folder" if path.is_dir() else "a special file"
                raise InputError(f"{path}: found {kind} where a result goes, expected an earlier run's result or none")
            if any(os.path.samefile(path, name) for name in self._inputs if path.exists() and name.exists()):
                raise InputError(f"{path}: found the input where the results go, expected another output folder")
            mine = ours or earlier.replaceable is None or name in earlier.replaceable or name in earlier.folders
            if not mine:
                raise InputError(
                    f"{path}: found a file that is not of an earlier run of this kind, expected it elsewhere, or "
                    "another output folder"
                )
            if path.exists() and not os.access(path, os.W_OK):
                raise InputError(f"{path}: found a read-only file, expected a writable one or none")
        free = shutil.disk_usage(self.path).free
        if free < size:
            raise OutputError(
                f"{self.path}: found {free / 2**20:.0f} MB free on the disk, expected at least {size / 2**20:.0f} MB"
            )

    @contextmanager
    def results(self) -> Iterator[Path]:
        """A staging folder inside this one. Its files replace earlier results when the block ends without an error.

        The hashes of the other files are added to the record. After an error or Ctrl-C inside the block it is removed,
        and earlier results are unchanged.

        Raises:
            InputError: if the disk is full, the folder can't be written any more or another process writes there.
        """
        with telling(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        with FolderLock(self.path):
            recover(self.path)
            earlier = self._earlier()
            replaces = [*earlier.names, self.record]
            with staged(self.path, last=self.record, replaces=replaces, folders=earlier.folders) as stage:
                yield stage
                self._sign(stage)

    def _sign(self, stage: Path) -> None:
        """Adds the hashes of all other files to the record."""
        if (stage / self.record).is_file():
            content = json.loads((stage / self.record).read_text())
            others = sorted(file for file in stage.rglob("*") if file.is_file() and file.name != self.record)
            content["files"] = {file.relative_to(stage).as_posix(): sha256(file) for file in others}
            write_json(stage / self.record, content)

    def _earlier(self) -> _Earlier:
        """What the record says of the files that are there."""
        files: list[Path] = []
        names: list[str] = []
        replaceable: set[str] | None = set()
        if (self.path / self.record).is_file():
            try:
                named = [Path(name) for name in json.loads((self.path / self.record).read_text())["files"]]
                files = [path for path in named if path.parts and not path.is_absolute() and ".." not in path.parts]
                names = list(dict.fromkeys(path.parts[0] for path in files))
                replaceable = {*names, self.record}
            except (OSError, ValueError, KeyError, TypeError):  # damaged, or of a version that named no files
                replaceable = None
                names = [name for name in ("metrics.json",) if self.record == RECORD and (self.path / name).is_file()]
        folders = [path for path in self.path.iterdir() if path.is_dir() and not path.is_symlink()]
        return _Earlier(names, replaceable, [path.name for path in folders if self._holds_only(path, files)])

    def _holds_only(self, folder: Path, files: list[Path]) -> bool:
        """Whether everything below a folder is one of these files, named from here, or a folder of some."""
        allowed = {*files, *(parent for file in files for parent in file.parents)}
        return all(path.relative_to(self.path) in allowed for path in folder.rglob("*"))


def read_results(folder: Path, record: str = RECORD) -> dict[str, Any] | None:
    """The record of a folder's results, or None unless all of its files are there and unchanged."""
    try:
        content = json.loads((folder / record).read_text())
        whole = all(sha256(folder / name) == digest for name, digest in content["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return content if whole else None
