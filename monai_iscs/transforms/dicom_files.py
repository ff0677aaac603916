# SPDX-License-Identifier: Apache-2.0
"""The images of the DICOM series in a folder, with their headers."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from monai_iscs.dicom import DICOM, check_pydicom, has_prefix, is_dicom, is_hidden
from monai_iscs.errors import InputError, InputWarning
from monai_iscs.scans.readers.ct_pd_tags import is_projection

if TYPE_CHECKING:
    import pydicom

_LOOKED_AT = 10_000  # most files in subfolders to look at, to say where DICOM files are


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns the errors of pydicom and ITK for a damaged file into an `InputError` that names it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about values that the standard forbids; the important ones are checked
            yield
    except InputError:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]
        raise InputError(f"{path}: found a truncated or damaged file ({reason}), expected a DICOM file") from error


def is_text(path: Path) -> bool:
    """Whether a file starts with UTF-8 text, as notes and licences do, so that it is not an image."""
    with path.open("rb") as file:
        start = file.read(1024)
    return b"\0" not in start and "�" not in start[:-3].decode(errors="replace")


def read_header(path: Path) -> pydicom.Dataset:
    """All that a DICOM file holds but its pixels.

    Raises:
        InputError: damaged, no DICOM at all, or projections instead of an image.
    """
    check_pydicom()
    import pydicom

    with reading(path):
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        if "SOPClassUID" not in header and "Rows" not in header and "MediaStorageSOPClassUID" not in header.file_meta:
            raise InputError(f"{path}: found no DICOM header, expected a DICOM file (truncated or damaged?)")
        if is_projection(header):
            raise InputError(
                f"{path}: found projections (DICOM-CT-PD), expected a volume: reconstruct their folder first "
                "(docs/projections.md)"
            )
        return header


def find_series(folder: Path) -> dict[Path, pydicom.Dataset]:
    """The headers of the images of the one DICOM series in a folder, by file, in the order of the names.

    Localizers and DICOM files that are not images are left out with an `InputWarning`; files of other kinds are left
    out without one.

    Raises:
        InputError: there is no series or more than one, some DICOM files are in subfolders, or a file that should be
            DICOM is damaged.
    """
    files = _dicom_files(folder)
    below = Counter(path.parent for path in islice(folder.glob("*/**/*"), _LOOKED_AT) if is_dicom(path))
    if below:
        places = ", ".join(str(place.relative_to(folder)) for place in list(below)[:3])
        found = f"found {len(files) or 'no'} DICOM {'files' if files else 'series'} in the folder"
        raise InputError(
            f"{folder}: {found} itself but {below.total()} DICOM files in {len(below)} of its subfolders ({places}), "
            "expected all files of one series in the folder itself"
        )
    headers = {path: read_header(path) for path in files}
    images = _images(folder, headers)
    series = Counter(str(header.get("SeriesInstanceUID")) for header in images.values())
    if len(series) != 1:
        counts = f" ({' and '.join(map(str, series.values()))} files)" if series else ""
        raise InputError(
            f"{folder}: found {len(series) or 'no'} DICOM series in the folder{counts}, expected exactly one"
        )
    return images


def _dicom_files(folder: Path) -> list[Path]:
    """The DICOM files of a folder; a file that should be DICOM but isn't raises an `InputError`."""
    there = sorted(path for path in folder.iterdir() if path.is_file() and not is_hidden(path))
    files = [path for path in there if has_prefix(path)]
    endings = {_ending(path) for path in files}
    for path in there:
        if path in files or _ending(path) not in (endings or {""}).union(DICOM):
            continue
        if _ending(path) not in DICOM and path.stat().st_size and is_text(path):
            continue  # a README among files without an ending
        if _is_dicom_without_prefix(path):
            files.append(path)
        elif endings or _ending(path):
            raise InputError(
                f"{path}: found {path.stat().st_size} bytes that are not DICOM, in one of {len(there)} files of its "
                "folder, expected a DICOM file (truncated or damaged?)"
            )
    return sorted(files)


def _images(folder: Path, headers: dict[Path, pydicom.Dataset]) -> dict[Path, pydicom.Dataset]:
    """Leaves out localizers and files without an image, with a warning."""
    images, left_out = {}, Counter()
    for path, header in headers.items():
        kind = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
        if kind and "Rows" not in header and "Image" not in kind.name:
            left_out[kind.name] += 1
        elif "LOCALIZER" in (header.get("ImageType") or ()):
            left_out["localizer"] += 1
        else:
            images[path] = header
    if left_out:
        what = ", ".join(f"{count} x {name}" for name, count in left_out.items())
        if not images:
            raise InputError(f"{folder}: found {what} and no DICOM series in the folder, expected exactly one series")
        message = f"{folder}: left out {what}; {len(images)} of {len(headers)} DICOM files are read"
        warnings.warn(message, InputWarning, stacklevel=2)
    return images


def _is_dicom_without_prefix(path: Path) -> bool:
    """Whether a file is DICOM without the prefix, as old exports are."""
    try:
        return bool(read_header(path))
    except InputError:
        return False


def _ending(path: Path) -> str:
    """The end of a file's name, in lower case; "" for a number (``IM.001``, names that are UIDs)."""
    ending = path.suffix.lower()
    return "" if ending[1:].isdigit() else ending


def shown(values: Sequence[str]) -> str:
    """Different values and how often each occurs, for messages."""
    return " and ".join(f"{value} ({count} x)" for value, count in Counter(values).most_common(3))
