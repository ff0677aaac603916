# SPDX-License-Identifier: Apache-2.0
"""CT of Mayo Clinic: the 2016 Low Dose CT Grand Challenge, and LDCT-and-Projection-data of TCIA."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from monai_iscs.datasets.volumes import (
    TRAIN,
    VAL,
    ArchivedVolume,
    by_patient,
    dicom_folders,
    refuse_other,
    split_by_hash,
    tell_left_out,
)
from monai_iscs.dicom import check_pydicom
from monai_iscs.errors import InputError, InputWarning
from monai_iscs.transforms.dicom_files import reading
from monai_iscs.transforms.load import LoadVolume

if TYPE_CHECKING:
    import pydicom

TRAINED_ON = ("L067", "L096", "L109", "L143", "L192", "L286", "L291", "L310", "L333")  # the paper, section 4.1
EVALUATED = "L506"
EVALUATED_THICK = "L221"  # the paper's subject of 5 mm slices, appendix C.2, from LDCT-and-Projection-data
FULL_DOSE, THICKNESS = "full_1mm", 1.0  # the series of the paper and its slice thickness, mm
FULL_DOSE_IMAGES = "full dose images"  # SeriesDescription, whose capitals differ between versions of the collection
_CHALLENGE_PATIENT, _LDCT_PATIENT = re.compile(r"L\d{3}"), re.compile(r"[CLN]\d{3}")


def find_grand_challenge(folder: Path) -> list[ArchivedVolume]:
    """The full-dose series of 1 mm of the challenge's ten training patients, split as in the paper.

    Each is a folder ``full_1mm`` in the folder of its patient, or below ``full_1mm/L067``; other series and patients
    are left out. The paper trains on nine patients and evaluates L506, who is in val: no training chooses by val.

    Args:
        folder: what was unpacked, at any level.

    Raises:
        InputError: another data set, a patient's second series, slices that are not 1 mm thick, or no L506.
    """
    places, left_out = [], Counter()
    for place, first in dicom_folders(folder):
        parts = [folder.resolve().name, *place.relative_to(folder).parts]
        patient = next((part for part in reversed(parts) if _CHALLENGE_PATIENT.fullmatch(part)), None)
        series = next((part for part in reversed(parts) if part.startswith(("full_", "quarter_"))), parts[-1])
        if patient in (*TRAINED_ON, EVALUATED) and series == FULL_DOSE:
            _check_challenge(place, first, patient)
            places.append((patient, place))
        else:
            left_out[series if series != FULL_DOSE else f"{series} of others than the ten patients"] += 1
    kept = by_patient(places)
    if not kept:
        raise refuse_other(
            folder, left_out, f"the series {FULL_DOSE} in a folder for each patient, as L067/{FULL_DOSE}/*.IMA"
        )
    if EVALUATED not in kept or len(kept) < 2:
        found = ", ".join(kept)
        raise InputError(f"{folder}: found patients {found}, expected {EVALUATED}, for val, and others for train")
    absent = [patient for patient in TRAINED_ON if patient not in kept]
    if absent:
        message = f"{folder}: found no {', '.join(absent)}, expected all ten patients for the paper's training"
        warnings.warn(message, InputWarning, stacklevel=2)
    tell_left_out(folder, left_out, f"{len(kept)} series {FULL_DOSE}")
    return [_volume(folder, patient, VAL if patient == EVALUATED else TRAIN, place) for patient, place in kept.items()]


def find_ldct(folder: Path) -> list[ArchivedVolume]:
    """The scanner's full-dose images of LDCT-and-Projection-data, as TCIA's downloader lays them out.

    The series is known by its SeriesDescription, the patient by the PatientID. The collection has no split: a tenth of
    the patients, by hash, is in val, and L221, whom the paper evaluates.

    Args:
        folder: what was downloaded, at any level.

    Raises:
        InputError: another data set, a patient's second series, or fewer than two patients.
    """
    places, left_out = [], Counter()
    for place, first in dicom_folders(folder):
        header = _header(first)
        description = str(header.get("SeriesDescription") or "no SeriesDescription")
        patient = str(header.get("PatientID") or "no PatientID")
        if description.strip().casefold() != FULL_DOSE_IMAGES:
            left_out[f"series {description!r}"] += 1
        elif not _LDCT_PATIENT.fullmatch(patient):
            left_out[f"patient {patient!r}"] += 1
        else:
            places.append((patient, place))
    kept = by_patient(places)
    if not kept:
        expected = "series 'Full Dose Images' of patients such as L004, C002 or N012"
        raise refuse_other(folder, left_out, expected)
    splits = split_by_hash(folder, kept, val=[EVALUATED_THICK])
    tell_left_out(folder, left_out, f"{len(kept)} series of full dose images")
    return [_volume(folder, patient, splits[patient], place) for patient, place in kept.items()]


def _check_challenge(place: Path, first: Path, patient: str) -> None:
    """Whether headers and folders agree."""
    header = _header(first)
    said = str(header.get("PatientID") or "")
    if _CHALLENGE_PATIENT.fullmatch(said) and said != patient:
        raise InputError(f"{first}: found PatientID {said}, expected {patient} in {place}")
    with reading(first):
        thickness = float(header.get("SliceThickness") or THICKNESS)
    if abs(thickness - THICKNESS) > 0.01 * THICKNESS:
        raise InputError(f"{first}: found slices of {thickness:g} mm, expected {THICKNESS:g} mm in {FULL_DOSE}")


def _header(file: Path) -> pydicom.Dataset:
    """The few elements by which a series is known, also of projections."""
    check_pydicom()
    import pydicom

    with reading(file):
        tags = ["PatientID", "SeriesDescription", "SliceThickness"]
        return pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=tags)


def _volume(folder: Path, patient: str, split: str, place: Path) -> ArchivedVolume:
    source = place.relative_to(folder).as_posix()
    return ArchivedVolume(patient, patient, split, source, partial(LoadVolume(), place))
