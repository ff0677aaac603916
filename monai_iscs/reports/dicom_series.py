# SPDX-License-Identifier: Apache-2.0
"""A CT volume as a DICOM series: derived, secondary, not for diagnosis."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from monai.data import MetaTensor

from monai_iscs.dicom import check_pydicom
from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.reports.dicom_tags import read_source, series_tags
from monai_iscs.reports.run_folder import RunFolder
from monai_iscs.transforms.checks import MOST_SHEAR, VOXEL_SIZES

if TYPE_CHECKING:
    import pydicom

    from monai_iscs.transforms.dicom import Series

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
STORED = (-(2**15), 2**15 - 1)  # signed, 16 bit
INTERCEPTS = (-1024, 0)  # HU of a stored 0: scanners' where the values allow it


def check_dicom_output(source: str | os.PathLike[str] | None = None, *, anonymous: bool = False) -> None:
    """Whether `write_dicom_series` can do its work, to be asked before there is a volume.

    Args:
        source: as there.
        anonymous: as there.

    Raises:
        InputError: pydicom is missing, or the source is not one of which a series can be written.
    """
    _source(source, anonymous=anonymous)


def _source(source: str | os.PathLike[str] | None, *, anonymous: bool) -> Series | None:
    check_pydicom()
    return None if source is None else read_source(Path(source), anonymous=anonymous)


def write_dicom_series(
    volume: MetaTensor,
    folder: str | os.PathLike[str],
    *,
    source: str | os.PathLike[str] | None = None,
    description: str = "reconstruction",
    series_description: str = "monai_iscs",
    anonymous: bool = False,
) -> None:
    """Write a CT volume as a series of CT Image Storage, one file a slice along the volume's third axis.

    Values are rounded to whole HU. Each file is DERIVED\\SECONDARY with new UIDs and says what made it and "not for
    diagnosis". Rows and columns run as viewers show them (axial: to the left and to the back), which may reverse or
    exchange axes of the array, never the place of a voxel: `LoadVolume` reads 0 HU and less than 1e-6 mm of difference.
    The folder holds the whole series or, after an error, nothing.

    Args:
        volume: (1, X, Y, Z) or (X, Y, Z) in HU, with its affine in mm, RAS; any right-angled orientation.
        folder: new or empty; made with its parents if missing.
        source: folder of the DICOM series, or multi-frame DICOM file, that the volume comes from. The new series joins
            its patient and its study and refers to its images, and has its frame of reference if the volume lies inside
            the source's. Without one, patient and study are new and nameless.
        description: how the volume came about, after version and before "not for diagnosis".
        series_description: the name of the series in viewers, before "not for diagnosis".
        anonymous: nothing of the source is written, its UIDs included, and each file says so. The voxels are as they
            are: a head shows a face.

    Raises:
        InputError: pydicom is missing, the folder holds something or can't be written, the source can't be read, is no
            CT or has text in its voxels that anonymity forbids, or the volume has NaNs, values beyond 16 bit, no affine
            or a sheared one.
    """
    series = _source(source, anonymous=anonymous)
    values, affine = _for_viewing(*_checked(volume))
    intercept = _intercept(values)
    tags = series_tags(
        series,
        Grid(values.shape, RAS_TO_LPS @ affine),
        description=description,
        series_description=series_description,
        anonymous=anonymous,
    )
    with RunFolder(folder, inputs=[] if source is None else [Path(source)]) as output:
        there = sum(1 for _ in output.path.iterdir())
        if there:
            raise InputError(
                f"{output.path}: found {there} files or folders where a DICOM series goes, expected a new or an empty "
                "folder"
            )
        with output.results() as stage:
            _add_geometry(tags, affine)
            tags.RescaleIntercept, tags.RescaleSlope, tags.RescaleType = intercept, 1, "HU"
            _write_slices(tags, values, affine, stage)


def _checked(volume: MetaTensor) -> tuple[np.ndarray, np.ndarray]:
    """(X, Y, Z) HU, and the affine in LPS mm; or an `InputError`."""
    if not isinstance(volume, MetaTensor):
        raise InputError("volume: has no affine, expected a MetaTensor with its voxel size in mm")
    values = real_tensor(volume.detach().as_tensor(), "volume").cpu().numpy()
    if values.ndim == 4 and values.shape[0] == 1:
        values = values[0]
    if values.ndim != 3 or 0 in values.shape:
        raise InputError(f"volume: found shape {tuple(volume.shape)}, expected (1, X, Y, Z) or (X, Y, Z)")
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise InputError(f"volume: found {bad} NaN or infinite voxels, expected finite HU everywhere")
    grid = Grid(values.shape, volume.affine.double().cpu().numpy())
    low, high = VOXEL_SIZES
    if not low <= min(grid.spacing) <= max(grid.spacing) <= high:
        found = " x ".join(f"{size:.4g}" for size in grid.spacing)
        raise InputError(f"volume: found voxels of {found} mm, expected {low:g} to {high:g} mm")
    shear = float(np.abs(grid.axes.T @ grid.axes - np.eye(3)).max())
    if shear > MOST_SHEAR:
        raise InputError(
            f"volume: sheared affine, found two voxel axes {shear:.4f} (cosine) from a right angle, expected at most "
            f"{MOST_SHEAR:g} (gantry tilt? resample the volume first)"
        )
    return values, RAS_TO_LPS @ np.asarray(grid.affine)


def _for_viewing(values: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same voxels (X, Y, Z) at the same places (LPS mm), with axes as viewers expect them.

    Rows run to the left or the back, columns to the back or down, whatever is nearest; slices along their normal.
    """
    affine = affine.copy()
    nearest = np.abs(affine[:3, :2]).argmax(axis=0)
    if nearest[0] > nearest[1]:
        values, affine[:, :2], nearest = values.swapaxes(0, 1), affine[:, 1::-1].copy(), nearest[::-1]
    turned = [affine[row, axis] * (-1 if row == 2 else 1) < 0 for axis, row in enumerate(nearest)]
    for axis in (0, 1, 2):
        if turned[axis] if axis < 2 else np.linalg.det(affine[:3, :3]) < 0:
            values = np.flip(values, axis)
            affine[:, 3] += affine[:, axis] * (values.shape[axis] - 1)
            affine[:, axis] *= -1
    return values, affine


def _intercept(values: np.ndarray) -> int:
    """The HU of a stored 0 with which all values fit into 16 bit."""
    low, high = (float(np.rint(end)) for end in (values.min(), values.max()))
    for intercept in INTERCEPTS:
        if STORED[0] <= low - intercept and high - intercept <= STORED[1]:
            return intercept
    raise InputError(f"volume: found values from {low:g} to {high:g} HU, expected {STORED[0]} to {STORED[1]} HU")


def _numbers(*values: float) -> list[str]:
    """Numbers as DICOM writes them: as exactly as 16 characters allow."""
    from pydicom.valuerep import format_number_as_ds

    return [format_number_as_ds(float(value) + 0.0) for value in values]  # + 0.0: no -0.0


def _add_geometry(tags: pydicom.Dataset, affine: np.ndarray) -> None:
    """What all slices have in common of an affine in LPS mm."""
    column, row, between = np.linalg.norm(affine[:3, :3], axis=0)
    tags.PixelSpacing = _numbers(row, column)
    tags.ImageOrientationPatient = _numbers(*affine[:3, 0] / column, *affine[:3, 1] / row)
    tags.SliceThickness, tags.SpacingBetweenSlices = _numbers(between, between)


def _write_slices(tags: pydicom.Dataset, values: np.ndarray, affine: np.ndarray, folder: Path) -> None:
    """One file for each slice (X, Y) of (X, Y, Z), numbered along the third axis."""
    import pydicom
    from pydicom.uid import generate_uid

    tags.Columns, tags.Rows = values.shape[:2]
    tags.SOPInstanceUID = generate_uid(None)
    intercept = int(tags.RescaleIntercept)
    encoded = BytesIO()  # read back, so that long lists of references are not encoded anew for each slice
    tags.save_as(encoded, enforce_file_format=True)
    encoded.seek(0)
    tags = pydicom.dcmread(encoded)
    for k in range(values.shape[2]):
        tags.SOPInstanceUID = generate_uid(None)
        tags.InstanceNumber = k + 1
        tags.ImagePositionPatient = _numbers(*affine[:3, 3] + k * affine[:3, 2])
        tags.add_new("PixelData", "OW", (np.rint(values[:, :, k].T) - intercept).astype("<i2").tobytes())
        tags.save_as(folder / f"{k + 1:04d}.dcm", enforce_file_format=True)
