# SPDX-License-Identifier: Apache-2.0
"""What all files of a derived DICOM series say, but for the places and values of slices."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from monai_iscs import __version__
from monai_iscs.errors import InputError, InputWarning
from monai_iscs.grid import Grid

if TYPE_CHECKING:
    import pydicom

    from monai_iscs.transforms.dicom import Series

NOT_FOR_DIAGNOSIS = "not for diagnosis"
WINDOW = (40, 400)  # HU, centre and width: soft tissue
LATER = 1000  # added to the source's series number: what is derived comes last in lists
# Of the source: its patient and study, and what is as true of the new images.
KEPT = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize",
    "PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence",
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber",
    "ReferringPhysicianName", "BodyPartExamined", "Laterality", "PatientPosition", "ContrastBolusAgent",
    "BurnedInAnnotation",
)  # fmt: skip
LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
FRAME = ("FrameOfReferenceUID", "PositionReferenceIndicator")
# What the standard wants to be there even where nobody knows it (type 2).
EMPTY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber",
    "ReferringPhysicianName", "Laterality", "PatientPosition", "PositionReferenceIndicator", "AcquisitionNumber", "KVP",
)  # fmt: skip


def read_source(source: Path, *, anonymous: bool) -> Series:
    """The series that a volume comes from.

    Args:
        source: its folder, or a multi-frame file.
        anonymous: whether its voxels must not show who it is.

    Raises:
        InputError: it can't be read, is no CT, or shows text that may be a name.
    """
    from monai_iscs.transforms.dicom import read_series

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # whoever read the volume was told what is left out
        series = read_series(source)
    for path, header in series.headers.items():
        if header.get("Modality") not in (None, "", "CT"):
            raise InputError(f"{path}: found DICOM images of modality {header.Modality}, expected CT")
        if anonymous and header.get("BurnedInAnnotation") == "YES":
            raise InputError(
                f"{path}: found BurnedInAnnotation YES, expected images without text for an anonymous series"
            )
    return series


def series_tags(
    source: Series | None, grid: Grid, *, description: str, series_description: str, anonymous: bool
) -> pydicom.Dataset:
    """What all files of a new series have in common, and the file's meta information.

    Args:
        source: that the volume comes from.
        grid: of the volume, mm, RAS.
        description: how it came about.
        series_description: the name of the series.
        anonymous: whether nothing of the source may show.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    tags = Dataset()
    tags.file_meta = FileMetaDataset()
    tags.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    tags.SpecificCharacterSet = "ISO_IR 192"
    for keyword in EMPTY:
        setattr(tags, keyword, None)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(tags, keyword, generate_uid(None))
    now = datetime.now()
    for kind in ("InstanceCreation", "Study", "Series", "Content"):
        setattr(tags, f"{kind}Date", now.strftime("%Y%m%d"))
        setattr(tags, f"{kind}Time", now.strftime("%H%M%S"))
    tags.SOPClassUID, tags.Modality, tags.ImageType = CTImageStorage, "CT", ["DERIVED", "SECONDARY", "AXIAL"]
    tags.SeriesNumber = 1
    tags.Manufacturer, tags.SoftwareVersions = "monai_iscs", __version__
    tags.SeriesDescription = _text(series_description, NOT_FOR_DIAGNOSIS, most=64)
    tags.DerivationDescription = _text(
        f"monai_iscs {__version__}, {description}", f"whole HU, {NOT_FOR_DIAGNOSIS}", most=1024
    )
    tags.BurnedInAnnotation, tags.LossyImageCompression = "NO", "00"
    tags.SamplesPerPixel, tags.PhotometricInterpretation = 1, "MONOCHROME2"
    tags.BitsAllocated, tags.BitsStored, tags.HighBit, tags.PixelRepresentation = 16, 16, 15, 1
    tags.WindowCenter, tags.WindowWidth = WINDOW
    if anonymous:
        tags.PatientIdentityRemoved = "YES"
        tags.DeidentificationMethod = "monai_iscs: nothing is taken over but the voxels"
        tags.LongitudinalTemporalInformationModified = "REMOVED"
    if source is not None:
        _add_source(tags, source, grid, anonymous=anonymous)
    return tags


def _add_source(tags: pydicom.Dataset, source: Series, grid: Grid, *, anonymous: bool) -> None:
    """What the source says of the new images."""
    from pydicom.dataset import Dataset

    headers = list(source.headers.values())
    lossy = [header for header in headers if header.get("LossyImageCompression") == "01"]
    for header in lossy[:1]:  # what was lost once stays lost
        _copy(tags, header, LOSSY)
    if anonymous:
        return
    tags.StudyDate = tags.StudyTime = None  # of the new study
    if headers[0].get("BodyPartExamined"):
        del tags.Laterality  # empty where unknown, absent where there is none
    _copy(tags, headers[0], KEPT)
    if _inside(grid, source.grid):
        _copy(tags, headers[0], FRAME)
    number = _element(headers[0], "SeriesNumber")
    with suppress(AttributeError, TypeError, ValueError):  # none, or no number
        tags.SeriesNumber = min(int(number.value) + LATER, 2**31 - 1)
    references = []
    for header in headers:
        if header.get("SOPClassUID") and header.get("SOPInstanceUID"):
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
            references.append(item)
    if references:
        tags.SourceImageSequence = references


def _copy(tags: pydicom.Dataset, header: pydicom.Dataset, keywords: Iterable[str]) -> None:
    """Takes over what a header has."""
    for keyword in keywords:
        element = _element(header, keyword)
        if element is not None:
            tags[keyword] = element


def _element(header: pydicom.Dataset, keyword: str) -> pydicom.DataElement | None:
    """An element that has a value, and one that can be read for what it should be."""
    with warnings.catch_warnings(), suppress(Exception):
        warnings.simplefilter("ignore")  # about values that the standard forbids
        return header[keyword] if header.get(keyword) not in (None, "") else None
    return None


def _inside(grid: Grid, other: Grid) -> bool:
    """Whether a grid's voxel centres lie in the box of another one's voxels: then both are of one frame."""
    ends = np.stack(np.meshgrid(*([0, n - 1] for n in grid.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    places = np.c_[ends, np.ones(len(ends))] @ (np.linalg.inv(other.affine) @ np.asarray(grid.affine)).T
    return bool((np.abs(places[:, :3] + 0.5 - np.asarray(other.shape) / 2) <= np.asarray(other.shape) / 2 + 1e-3).all())


def _text(start: str, end: str, *, most: int) -> str:
    """Both in one line of at most this many characters, of which the end is never cut, without DICOM's separator."""
    start = re.sub(r"[\\\x00-\x1f\x7f]+", " ", start)
    return f"{start[: most - len(end) - 2]}, {end}"
