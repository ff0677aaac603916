# SPDX-License-Identifier: Apache-2.0
"""What a DICOM file looks like from outside, for readers of volumes and of projections."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from monai_iscs.errors import InputError

DICOM = (".dcm", ".ima", ".dicom")


def check_pydicom() -> None:
    """Whether DICOM can be read and written; nothing else needs pydicom.

    Raises:
        InputError: it is missing.
    """
    try:
        import_module("pydicom")
    except ImportError as error:
        raise InputError(
            "pydicom: found no such package, expected it for DICOM files: pip install 'monai-iscs[dicom]'"
        ) from error


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its first bytes or by the end of its name."""
    return path.is_file() and not is_hidden(path) and (path.name.lower().endswith(DICOM) or has_prefix(path))


def is_hidden(path: Path) -> bool:
    """Whether a file belongs to the system, or is the table of contents of a DICOM disk."""
    return path.name.startswith(".") or path.name.upper() == "DICOMDIR"


def has_prefix(path: Path) -> bool:
    """Whether a file starts as DICOM files do, but for old exports."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"
