# SPDX-License-Identifier: Apache-2.0
"""DL_info.csv, the table of DeepLesion: splits, distances and slices of its series."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from monai_iscs.datasets.volumes import TEST, TRAIN, VAL
from monai_iscs.errors import InputError

TABLE = "DL_info.csv"
COLUMNS = ("File_name", "Patient_index", "Slice_range", "Spacing_mm_px_", "Train_Val_Test")
MOST_SLICES = 10_000  # of a series
_SPLITS = {"1": TRAIN, "2": VAL, "3": TEST}
_FILE_NAME = re.compile(r"((\d{6})_\d{2}_\d{2})_\d+\.png")  # 000001_01_01_109.png: the slice of a lesion


@dataclass(frozen=True)
class Series:
    """What the table says of a series.

    Attributes:
        patient: six digits.
        split: train, val or test.
        spacings: pixel width, pixel height and slice distance in mm, as its rows say; one, if they agree.
        slices: indices of all slices that the archive has of it.
    """

    patient: str
    split: str
    spacings: frozenset[tuple[float, ...]]
    slices: frozenset[int]


def read_table(file: Path) -> dict[str, Series]:
    """The series in the table, by name such as ``000001_01_01``; a row is a lesion, a series has one or several.

    Raises:
        InputError: columns that are missing, a cell that cannot be read, or a patient in two splits.
    """
    with file.open(newline="", encoding="utf-8-sig", errors="replace") as lines:
        reader = csv.DictReader(lines)
        absent = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if absent:
            raise InputError(f"{file}: found no column {absent[0]}, expected {', '.join(COLUMNS)}")
        rows = list(enumerate(reader, start=2))
    series: dict[str, Series] = {}
    splits: dict[str, str] = {}
    for number, row in rows:
        name, one = _read_row(row, f"{file}, row {number}")
        known = series.get(name, one)
        if splits.setdefault(one.patient, one.split) != one.split:
            found = f"{splits[one.patient]} and {one.split}"
            raise InputError(f"{file}, row {number}: found patient {one.patient} in {found}, expected one split")
        series[name] = Series(one.patient, one.split, known.spacings | one.spacings, known.slices | one.slices)
    return series


def _read_row(row: Mapping[str, str | None], where: str) -> tuple[str, Series]:
    found = _FILE_NAME.fullmatch(row["File_name"] or "")
    if not found:
        raise InputError(f"{where}: found File_name {row['File_name']!r}, expected one such as 000001_01_01_109.png")
    if (row["Patient_index"] or "").strip() != str(int(found[2])):
        raise InputError(f"{where}: found Patient_index {row['Patient_index']!r}, expected {int(found[2])}")
    split = _SPLITS.get((row["Train_Val_Test"] or "").strip())
    if split is None:
        raise InputError(f"{where}: found Train_Val_Test {row['Train_Val_Test']!r}, expected 1, 2 or 3")
    spacing = _numbers(row, "Spacing_mm_px_", 3, where)
    if not all(0 < side < math.inf for side in spacing):
        raise InputError(f"{where}: found Spacing_mm_px_ {row['Spacing_mm_px_']!r}, expected sizes above 0 mm")
    first, last = map(int, _numbers(row, "Slice_range", 2, where))
    if not 0 <= first <= last <= MOST_SLICES:
        raise InputError(f"{where}: found Slice_range {row['Slice_range']!r}, expected two rising indices")
    return found[1], Series(found[2], split, frozenset([spacing]), frozenset(range(first, last + 1)))


def _numbers(row: Mapping[str, str | None], column: str, count: int, where: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(text) for text in (row[column] or "").split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise InputError(f"{where}: found {column} {row[column]!r}, expected {count} numbers")
    return numbers
