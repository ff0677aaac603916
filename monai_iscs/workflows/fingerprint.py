# SPDX-License-Identifier: Apache-2.0
"""The identity of a volume or a model on disk."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from monai_iscs.errors import InputError
from monai_iscs.files import sha256
from monai_iscs.transforms.itk_files import DETACHED, voxel_files


def fingerprint(path: Path) -> str:
    """SHA-256 of a file, or of the list of those of a folder or pattern; a header counts with its voxel files."""
    if path.is_dir():
        folder, files = path, [file for file in path.rglob("*") if file.is_file()]
    elif "*" in path.name:
        folder, files = path.parent, [file for file in path.parent.glob(path.name) if file.is_file()]
    elif path.suffix.lower() in DETACHED:
        folder, files = path.parent, [path]
        with suppress(InputError, ValueError):  # a damaged header is reported when it is read
            files += voxel_files(path)
    else:
        return sha256(path)
    lines = [f"{sha256(file)}  {Path(os.path.relpath(file, folder)).as_posix()}\n" for file in files]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
