# SPDX-License-Identifier: Apache-2.0
"""The volumes that an archive's layout promises, before any of them is read, and their split by patients."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from monai.data import MetaTensor

from monai_iscs.dicom import is_dicom, is_hidden
from monai_iscs.errors import InputError, InputWarning

TRAIN, VAL, TEST = SPLITS = ("train", "val", "test")
VAL_SHARE = 0.1  # of the patients of a data set that has no split of its own
_PACKED = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")


class ArchivedVolume(NamedTuple):
    """A volume of an archive.

    Attributes:
        name: of the file to write, without ending.
        patient: whom it shows, as the archive names them.
        split: train, val or test.
        source: its path in the archive.
        load: reads it as (1, X, Y, Z), float32, in HU or signal units, with its affine in RAS mm.
    """

    name: str
    patient: str
    split: str
    source: str
    load: Callable[[], MetaTensor]


def split_by_hash(folder: Path, patients: Collection[str], *, val: Collection[str] = ()) -> dict[str, str]:
    """A split by the patients' names alone, the same on every machine and for any part of a data set.

    Only where a part has nobody for val, or for train, the first or the last hash takes that place.

    Args:
        folder: of the archive, for the error.
        patients: all patients.
        val: those who must be in val.

    Returns:
        train or val by patient: val for a tenth of all possible hashes (SHA-256), and for one patient at least.

    Raises:
        InputError: fewer than two patients.
    """
    if len(set(patients)) < 2:
        raise InputError(f"{folder}: found 1 patient, expected at least 2: patients are split, never slices")

    def place(patient: str) -> float:
        return int.from_bytes(hashlib.sha256(patient.encode()).digest()[:8], "big") / 2**64

    ordered = sorted(set(patients), key=lambda patient: (patient not in val, place(patient)))
    first, *_, last = ordered
    inside = {first, *(patient for patient in ordered if patient in val or place(patient) < VAL_SHARE)} - {last}
    return {patient: VAL if patient in inside else TRAIN for patient in ordered}


def dicom_folders(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Every folder in a folder, or itself, with DICOM files; with the first of them."""
    for place, inner, files in os.walk(folder):
        inner.sort()
        first = next((path for name in sorted(files) if is_dicom(path := Path(place, name))), None)
        if first is not None:
            yield Path(place), first


def refuse_other(folder: Path, found: Mapping[str, int], expected: str) -> InputError:
    """The error for a folder that holds another data set or none.

    Args:
        folder: of the archive.
        found: what is there, and how often.
        expected: the layout of the archive.
    """
    what = ", ".join(f"{count} x {name}" for name, count in Counter(found).most_common(4))
    there = sorted(path.name for path in folder.iterdir() if not is_hidden(path)) if folder.is_dir() else []
    packed = [name for name in there if name.lower().endswith(_PACKED)]
    other = f"{len(there)} other files or folders ({', '.join(there[:3])})" if there else "nothing"
    hint = f" (unpack {packed[0]} first?)" if packed else ""
    return InputError(f"{folder}: found {what or other}, expected {expected}{hint}")


def tell_left_out(folder: Path, left_out: Mapping[str, int], kept: str) -> None:
    """Warns of what is in the archive but is not prepared."""
    if left_out:
        what = ", ".join(f"{count} x {name}" for name, count in Counter(left_out).most_common(6))
        warnings.warn(f"{folder}: found {kept}, left out {what}", InputWarning, stacklevel=3)


def by_patient(places: Collection[tuple[str, Path]]) -> dict[str, Path]:
    """The one series or case of each patient.

    Raises:
        InputError: a patient has two.
    """
    kept: dict[str, Path] = {}
    for patient, place in places:
        if patient in kept:
            raise InputError(f"{place}: found a second scan of {patient}, also in {kept[patient]}, expected one")
        kept[patient] = place
    return dict(sorted(kept.items()))
