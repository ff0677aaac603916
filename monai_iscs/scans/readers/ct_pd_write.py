# SPDX-License-Identifier: Apache-2.0
"""Projections as DICOM-CT-PD, one file a view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from monai_iscs.dicom import check_pydicom
from monai_iscs.errors import InputError
from monai_iscs.files import staged, telling
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.operators.vectors import VECTORS
from monai_iscs.scans.projections import POSITIONS, Projections
from monai_iscs.scans.readers.ct_pd import TO_OURS, ct_pd_geometry
from monai_iscs.scans.readers.ct_pd_tags import DECIMAL, FLOAT, TAGS, TEXT, ViewFile

if TYPE_CHECKING:
    import pydicom

CREATORS = {
    0x7029: "DETECTOR GEOMETRY",
    0x7031: "DETECTOR DYNAMICS",
    0x7033: "SOURCE DYNAMICS",
    0x7037: "SCAN PROTOCOL",
    0x7039: "PREPROCESSING",
    0x7041: "CALIBRATION",
}
EXACT = 1e-3  # mm that a ray's ends may be off, which the format has in single precision
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
MOST = 2**16 - 1


def write_ct_pd(
    projections: Projections,
    folder: str | PathLike[str],
    *,
    views_a_turn: int | None = None,
    quanta: Sequence[float] | None = None,
) -> Path:
    """Write a folder of DICOM-CT-PD, which `read_projections` reads: one file a view.

    Line integrals are rounded to 16 bits. The scanner's axis is the z axis of the projections' frame; in RAS the
    patient lies head first and supine.

    Args:
        projections: with upright detectors that face the axis and are flat, or curved about a point opposite them.
        folder: is made; must not be there.
        views_a_turn: nominal, for those who choose views by turns.
        quanta: photons that each column's rays start with, (columns,).

    Returns:
        The folder.

    Raises:
        InputError: a geometry that the format doesn't describe to 1e-3 mm, or another number of quanta.
        OutputError: the files can't be written.
    """
    folder = Path(folder).expanduser()
    check_new(folder)
    import pydicom

    position = projections.position or "HFS"
    scan = projections.in_patient().geometry.turned(np.array(POSITIONS[position]).T)
    columns = scan.detector_shape[1]
    if quanta is not None and np.shape(quanta) != (columns,):
        raise InputError(f"quanta: found shape {np.shape(quanta)}, expected one number for each of {columns} columns")
    if len(set(scan.detector_shape)) == 1:
        raise InputError(
            f"geometry: found as many detector rows as columns, {columns}, expected another number: the format's "
            "readers tell by it in which order the pixels are"
        )
    scan, data = _in_order(scan, projections.data.detach().cpu().numpy())
    low = float(data.min())
    slope = max((float(data.max()) - low) / MOST, 1e-9)
    shared = {
        "intercept": low,
        "slope": slope,
        "logarithm": "YES",
        **({} if views_a_turn is None else {"views_a_turn": views_a_turn}),
        **({} if quanta is None else {"quanta": np.asarray(quanta, np.float64)}),
        **({} if projections.water is None else {"water": projections.water}),
    }
    views = [{**shared, **values} for values in _values(scan)]
    series, study = pydicom.uid.generate_uid(), pydicom.uid.generate_uid()
    with telling(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with staged(folder.parent, last=folder.name) as stage:
        (stage / folder.name).mkdir()
        for number, (values, image) in enumerate(zip(views, data, strict=True), 1):
            view = _dataset(values, number)
            view.StudyInstanceUID, view.SeriesInstanceUID, view.PatientPosition = study, series, position
            view.PixelData = np.rint((image - low) / slope).astype("<u2").tobytes()
            view.save_as(stage / folder.name / f"{number:05d}.dcm", enforce_file_format=True)
    return folder


def check_new(folder: Path) -> None:
    """Raise an `InputError` where a folder of DICOM-CT-PD can't be written: it exists, or pydicom is missing."""
    check_pydicom()
    if folder.exists():
        raise InputError(f"{folder}: found a file or folder there already, expected none")


def _in_order(scan: ConeBeamGeometry, data: np.ndarray) -> tuple[ConeBeamGeometry, np.ndarray]:
    """With rows that fall along z, and columns that rise to the left of somebody who stands at the source."""
    if (scan.v[:, 2] > 0).all():
        scan, data = replace(scan, v=-scan.v), data[:, ::-1]
    ahead = scan.detector - scan.source
    if (np.cross(scan.u, ahead)[:, 2] < 0).all():
        scan, data = replace(scan, u=-scan.u), data[:, :, ::-1]
    return scan, data


def _values(scan: ConeBeamGeometry) -> list[dict[str, Any]]:
    """`TAGS` of each view; refuses what they don't describe."""
    rows, columns = scan.detector_shape
    order = np.argsort(TO_OURS)
    source, detector, u, v = (getattr(scan, name)[:, order] for name in VECTORS)
    focus = source if scan.curved_about is None else scan.curved_about[:, order]
    focus = np.column_stack([focus[:, :2], detector[:, 2]])
    angle, radius = np.arctan2(-focus[:, 0], focus[:, 1]), np.hypot(focus[:, 0], focus[:, 1])
    away, pitch = np.hypot(source[:, 0], source[:, 1]), np.linalg.norm(u, axis=1)
    inward = -focus[:, :2] / radius[:, None]
    across = np.stack([np.cos(angle), np.sin(angle)], 1)
    to_middle = (detector - focus)[:, :2]
    forward, aside = (to_middle * inward).sum(1), (to_middle * across).sum(1)
    if scan.curved_about is None:
        to_detector, off = forward, aside / pitch
    else:
        to_detector = np.hypot(forward, aside)
        off = np.arctan2(aside, forward) * to_detector / pitch
    shift = np.arctan2(-source[:, 0], source[:, 1]) - angle
    found = {
        "pitch_u": pitch,
        "pitch_v": np.linalg.norm(v, axis=1),
        "angle": angle,
        "height": focus[:, 2],
        "radius": radius,
        "to_detector": to_detector,
        "angle_shift": np.angle(np.exp(1j * shift)),
        "height_shift": source[:, 2] - focus[:, 2],
        "radius_shift": away - radius,
        "central": np.stack([(columns + 1) / 2 - off, np.full(scan.views, (rows + 1) / 2)], 1),
    }
    whole = {"rows": rows, "columns": columns, "stored_rows": rows, "stored_columns": columns}
    shape = "FLAT" if scan.curved_about is None else "CYLINDRICAL"
    views = [
        {**whole, "shape": shape, **{name: np.float32(numbers[view]) for name, numbers in found.items()}}
        for view in range(scan.views)
    ]
    back = ct_pd_geometry([ViewFile(Path(), 1, "", "", "", 1, None, values) for values in views])
    ends = np.array([-(columns - 1) / 2, 0, (columns - 1) / 2])
    ours = np.concatenate([scan.source[:, None], scan.column_places(ends)], 1)
    theirs = np.concatenate([back.source[:, None], back.column_places(ends)], 1)
    off = max(np.abs(ours - theirs).max(), np.abs(scan.v - back.v).max() * rows)
    if not off < EXACT:
        raise InputError(
            f"geometry: found rays that are {off:.3g} mm off what DICOM-CT-PD can say, expected an upright detector, "
            "opposite the point that it is curved about, or the source"
        )
    return views


def _dataset(values: dict[str, Any], number: int) -> pydicom.Dataset:
    """A view without its pixels."""
    import pydicom

    view = pydicom.Dataset()
    view.file_meta = pydicom.dataset.FileMetaDataset()
    view.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    view.SOPClassUID, view.SOPInstanceUID = SECONDARY_CAPTURE, pydicom.uid.generate_uid()
    view.file_meta.MediaStorageSOPClassUID = view.SOPClassUID
    view.file_meta.MediaStorageSOPInstanceUID = view.SOPInstanceUID
    view.Modality, view.PatientID, view.PatientName, view.InstanceNumber = "CT", "", "", number
    view.SamplesPerPixel, view.PhotometricInterpretation, view.PixelRepresentation = 1, "MONOCHROME2", 0
    view.BitsAllocated = view.BitsStored = 16
    view.HighBit = 15
    for group, creator in CREATORS.items():
        view.add_new((group, 0x0010), "LO", creator)
    for name, value in values.items():
        tag = TAGS[name]
        if tag.kind == FLOAT:
            view.add_new(tag[:2], "FL", np.atleast_1d(value).astype(np.float64).tolist())
        elif tag.kind == DECIMAL:
            view.add_new(tag[:2], "DS", pydicom.valuerep.format_number_as_ds(float(value)))
        else:
            view.add_new(tag[:2], "CS" if tag.kind == TEXT else "US", value)
    return view
