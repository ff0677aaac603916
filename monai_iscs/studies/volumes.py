# SPDX-License-Identifier: Apache-2.0
"""The names under which a benchmark keeps the results of its volumes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from monai_iscs.engines import volume_stem
from monai_iscs.errors import InputError

RECORD, TABLES = "results.json", ("table.md", "table.csv")  # of the benchmark, beside the volumes' folders


def distinct_names(volumes: Sequence[Path]) -> list[str]:
    """Names of the volumes: their file names without the ending of the format, or their folder's name.

    Volumes of one name are distinguished by the rest of their file names or else by their folders. So a volume's name,
    by which its results are found again, seldom depends on the other volumes.

    Args:
        volumes: files and folders.

    Returns:
        A name for each of them, all different.

    Raises:
        InputError: a volume that is given twice.
    """
    paths = [Path(os.path.abspath(path)) for path in volumes]  # links keep their names
    stems = [(path.parent, _stem(path)) for path in paths]
    alike = Counter((folder, stem.casefold()) for folder, stem in stems)
    names = [
        path.name if alike[folder, stem.casefold()] > 1 else stem
        for path, (folder, stem) in zip(paths, stems, strict=True)
    ]
    for depth in range(2, max(len(path.parts) for path in paths)):
        alike = [name for name in names if names.count(name) > 1]
        names = [
            f"{path.parts[-depth]}_{name}" if name in alike and depth < len(path.parts) else name
            for path, name in zip(paths, names, strict=True)
        ]
    for path, name in zip(paths, names, strict=True):
        if names.count(name) > 1:
            raise InputError(f"{path}: found twice, expected each volume once")
    return names


def _stem(path: Path) -> str:
    """A file's name without the ending of its format, a folder's whole name."""
    stem = volume_stem(path)
    return stem if stem.strip(".") and stem not in (RECORD, *TABLES) else path.name
