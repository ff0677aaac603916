# SPDX-License-Identifier: Apache-2.0
"""The folder of a run: complete results or none, earlier ones untouched until then."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from monai.data import MetaTensor

from monai_iscs.errors import InputError

FULL = {errno.ENOSPC, errno.EDQUOT}


def _finite(content: Any) -> Any:
    """`content` with tuples as lists and numbers that JSON doesn't have (NaN, infinity) as None."""
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


def write_volume(path: str | os.PathLike[str], volume: MetaTensor) -> None:
    """Write a volume as float32 NIfTI with its affine in sform and qform (code 1, scanner), in mm.

    Args:
        path: file name ending in .nii or .nii.gz.
        volume: (1, X, Y, Z) or (X, Y, Z), in the units to be written.
    """
    values = np.asarray(volume.detach().cpu().as_tensor(), dtype=np.float32)
    image = nibabel.Nifti1Image(values.reshape(values.shape[-3:]), volume.affine.cpu().double().numpy())
    for set_form in (image.set_sform, image.set_qform):
        set_form(image.affine, code=1)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


class RunFolder:
    """An output folder: made and checked at once, filled all at once.

    Args:
        path: the folder; made with its parents if missing.

    Raises:
        InputError: if it is a file, or can't be made or written.

    Example:
        >>> folder = RunFolder("runs/patient")        # before the long work
        >>> with folder.results() as stage:           # after it
        ...     write_volume(stage / "reconstruction.nii.gz", volume)
        ...     write_json(stage / "run.json", record.as_dict())
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser()
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path}: the output is a file, expected a folder")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise self._mendable(error) from error

    @contextmanager
    def results(self) -> Iterator[Path]:
        """A staging folder inside this one. Its files get their final names when the block ends well.

        After an error or Ctrl-C inside the block nothing of it remains and earlier results are as they were.

        Raises:
            InputError: if the disk is full or the folder can't be written any more.
        """
        stage = None
        try:
            stage = Path(tempfile.mkdtemp(prefix=".partial-", dir=self.path))
            yield stage
            for file in sorted(stage.iterdir()):
                os.replace(file, self.path / file.name)
        except OSError as error:
            raise self._mendable(error) from error
        finally:
            if stage is not None:
                shutil.rmtree(stage, ignore_errors=True)

    def _mendable(self, error: OSError) -> InputError:
        if error.errno in FULL:
            free = shutil.disk_usage(self.path).free / 2**20
            return InputError(f"{self.path}: the disk is full ({free:.0f} MB free), nothing was written")
        return InputError(f"{self.path}: the output folder can't be written ({error.strerror or error})")
