# SPDX-License-Identifier: Apache-2.0
"""What a file of DICOM-CT-PD says of its view, whether its private values are typed or raw bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from monai_iscs.dicom import check_pydicom
from monai_iscs.errors import InputError
from monai_iscs.scans.readers.naming import FileError, naming_file

if TYPE_CHECKING:
    import pydicom

DETECTOR = (0x7029, 0x0010)  # whose creator's elements say what detector recorded a projection
CREATOR = "DETECTOR GEOMETRY"
FLOAT, WHOLE, TEXT, DECIMAL = "<f4", "<u2", "text", "decimal"


class Tag(NamedTuple):
    """An element and how its bytes are read.

    Attributes:
        group: of the element.
        element: in its group.
        name: for messages.
        kind: FLOAT, WHOLE, TEXT or DECIMAL (a number as text).
        count: of the numbers; 0: any.
        least: what a number is at least; None: any.
        most: what a number is at most; None: any.
    """

    group: int
    element: int
    name: str
    kind: str
    count: int = 1
    least: float | None = None
    most: float | None = None

    def __str__(self) -> str:
        return f"({self.group:04X},{self.element:04X}) {self.name}"


SMALLEST, LARGEST = 1e-3, 1e4  # of lengths in a scanner, mm
TAGS = {
    "stored_rows": Tag(0x0028, 0x0010, "Rows", WHOLE, least=1),
    "stored_columns": Tag(0x0028, 0x0011, "Columns", WHOLE, least=1),
    "intercept": Tag(0x0028, 0x1052, "RescaleIntercept", DECIMAL),
    "slope": Tag(0x0028, 0x1053, "RescaleSlope", DECIMAL, least=1e-12),
    "pitch_u": Tag(0x7029, 0x1002, "DetectorElementTransverseSpacing", FLOAT, least=SMALLEST, most=LARGEST),
    "pitch_v": Tag(0x7029, 0x1006, "DetectorElementAxialSpacing", FLOAT, least=SMALLEST, most=LARGEST),
    "shape": Tag(0x7029, 0x100B, "DetectorShape", TEXT),
    "rows": Tag(0x7029, 0x1010, "NumberofDetectorRows", WHOLE, least=1),
    "columns": Tag(0x7029, 0x1011, "NumberofDetectorColumns", WHOLE, least=1),
    "angle": Tag(0x7031, 0x1001, "DetectorFocalCenterAngularPosition", FLOAT, least=-1e3, most=1e3),
    "height": Tag(0x7031, 0x1002, "DetectorFocalCenterAxialPosition", FLOAT, least=-1e5, most=1e5),
    "radius": Tag(0x7031, 0x1003, "DetectorFocalCenterRadialDistance", FLOAT, least=SMALLEST, most=LARGEST),
    "to_detector": Tag(0x7031, 0x1031, "ConstantRadialDistance", FLOAT, least=SMALLEST, most=LARGEST),
    "central": Tag(0x7031, 0x1033, "DetectorCentralElement", FLOAT, 2, least=-1e5, most=1e5),
    "angle_shift": Tag(0x7033, 0x100B, "SourceAngularPositionShift", FLOAT, least=-0.05, most=0.05),
    "height_shift": Tag(0x7033, 0x100C, "SourceAxialPositionShift", FLOAT, least=-30, most=30),
    "radius_shift": Tag(0x7033, 0x100D, "SourceRadialDistanceShift", FLOAT, least=-30, most=30),
    "views_a_turn": Tag(0x7033, 0x1013, "NumberofSourceAngularSteps", WHOLE, least=1),
    "quanta": Tag(0x7033, 0x1065, "PhotonStatistics", FLOAT, 0, least=0),
    "time": Tag(0x7033, 0x1067, "Timestamp", FLOAT),
    "logarithm": Tag(0x7039, 0x1009, "LogFlag", TEXT),
    "water": Tag(0x7041, 0x1001, "WaterAttenuationCoefficient", DECIMAL, least=1e-4, most=1),
}
SPECTRUM = Tag(0x7033, 0x1063, "SpectrumIndex", WHOLE)
OPTIONAL = {"views_a_turn", "quanta", "time", "logarithm", "water"}


class ViewFile(NamedTuple):
    """One view.

    Attributes:
        path: its file.
        instance: its number; None: the file has none.
        patient: identifier.
        study: unique identifier.
        series: unique identifier.
        spectrum: index; 1 where the file has none.
        position: of the patient; None: the file has none.
        values: of `TAGS` by name: a float, a text, or an array; without the optional ones that the file lacks.
    """

    path: Path
    instance: int | None
    patient: str
    study: str
    series: str
    spectrum: int
    position: str | None
    values: dict[str, Any]


def is_projection(header: pydicom.Dataset) -> bool:
    """Whether a DICOM header is that of a view of DICOM-CT-PD."""
    rows = TAGS["rows"]
    return (DETECTOR in header and str(header[DETECTOR].value).strip() == CREATOR) or (rows[:2] in header)


def read_view(path: Path) -> ViewFile:
    """The header of a view's file.

    Raises:
        InputError: a file that is no such view, or lacks a value, or has one that can't be right.
    """
    check_pydicom()
    import pydicom

    with naming_file(path):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        if not is_projection(header):
            what = str(header.get("Modality", "DICOM")) or "DICOM"
            raise InputError(f"found a {what} file without a detector's geometry, expected a view of DICOM-CT-PD")
        values = {}
        for name, tag in TAGS.items():
            if tag[:2] in header:
                values[name] = _value(header[tag[:2]].value, tag)
            elif name not in OPTIONAL:
                raise InputError(f"found no {tag}, expected one")
        return ViewFile(
            path=path,
            instance=None if header.get("InstanceNumber") is None else int(header.InstanceNumber),
            patient=str(header.get("PatientID", "")),
            study=str(header.get("StudyInstanceUID", "")),
            series=str(header.get("SeriesInstanceUID", "")),
            spectrum=int(_value(header[SPECTRUM[:2]].value, SPECTRUM)) if SPECTRUM[:2] in header else 1,
            position=str(header.get("PatientPosition", "") or "").strip().upper() or None,
            values=values,
        )


def _value(found: Any, tag: Tag) -> Any:
    """A text, a float, or an array of several numbers."""
    if tag.kind in (TEXT, DECIMAL):
        text = found.decode("ascii", "replace") if isinstance(found, bytes) else str(found)
        text = text.strip(" \0").upper()
        if tag.kind == TEXT:
            return text
        try:
            numbers = np.array([float(text)])
        except ValueError:
            raise InputError(f"found {text!r:.40} as {tag}, expected a number") from None
    elif isinstance(found, bytes):
        size = np.dtype(tag.kind).itemsize
        if len(found) % size or not found:
            raise InputError(f"found {len(found)} bytes as {tag}, expected {size} for each number")
        numbers = np.frombuffer(found, tag.kind).astype(np.float64)
    else:
        try:
            numbers = np.atleast_1d(np.asarray(found, np.float64))
        except (TypeError, ValueError):
            raise InputError(f"found {found!r:.40} as {tag}, expected numbers") from None
    if numbers.ndim != 1 or not numbers.size or (tag.count and len(numbers) != tag.count):
        raise InputError(f"found {numbers.size} numbers as {tag}, expected {tag.count or 'one for each column'}")
    least, most = (limit if limit is not None else other for limit, other in ((tag.least, -np.inf), (tag.most, np.inf)))
    bad = ~(np.isfinite(numbers) & (numbers >= least) & (numbers <= most))
    if bad.any():
        raise InputError(f"found {numbers[bad][0]:g} as {tag}, expected a number from {least:g} to {most:g}")
    return numbers if tag.count != 1 else float(numbers[0])


def read_pixels(view: ViewFile) -> np.ndarray:
    """The line integrals of a view, (rows, columns), float32.

    Raises:
        InputError: other pixels than the header promises.
    """
    import pydicom

    with naming_file(view.path):
        pixels = pydicom.dcmread(view.path).pixel_array
        values = view.values
        if pixels.ndim != 2 or pixels.dtype.kind != "u":
            raise InputError(f"found pixels {pixels.shape} of {pixels.dtype}, expected one image of unsigned numbers")
        pixels = pixels.T if is_transposed(view) else pixels
        return pixels.astype(np.float32) * np.float32(values["slope"]) + np.float32(values["intercept"])


def is_transposed(view: ViewFile) -> bool:
    """Whether the stored image has the detector's columns as rows.

    Raises:
        InputError: an image of another size, or a square one, which doesn't tell.
    """
    values = view.values
    stored, detector = (
        (int(values[a]), int(values[b])) for a, b in (("stored_rows", "stored_columns"), ("rows", "columns"))
    )
    if stored not in (detector, detector[::-1]):
        raise FileError(view.path, f"found {stored[0]} x {stored[1]} pixels, expected {detector[0]} x {detector[1]}")
    if detector[0] == detector[1]:
        found = f"found as many rows as columns, {detector[0]}"
        raise FileError(view.path, f"{found}, expected a detector whose rows tell in which order its pixels are")
    return stored != detector
