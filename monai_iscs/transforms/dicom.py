# SPDX-License-Identifier: Apache-2.0
"""DICOM series and multi-frame files as volumes, by the position and rescale of each slice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom
from monai.config import PathLike
from monai.data import ImageReader

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.transforms.dicom_files import find_series, read_header, reading, shown
from monai_iscs.transforms.dicom_values import stored_values

MOST_UNEVEN = 0.1  # mm between a slice and its place in even spacing: positions are often rounded to 0.1 mm
MOST_TURNED = 1e-3  # that direction cosines may differ by, and two axes may be (cosine) from a right angle
MOST_STRETCHED = 1e-3  # share that pixel sizes may differ by, and that a direction may be off length 1
ONE_PLACE = 0.01  # mm: slices closer than this are at one position

# What must be the same in all slices of a volume.
_ALIKE = (
    "Rows", "Columns", "Modality", "PatientID", "FrameOfReferenceUID",
    "ConvolutionKernel", "EchoTime", "EffectiveEchoTime", "EchoNumbers", "TemporalPositionIdentifier",
    "TemporalPositionIndex", "NominalPercentageOfCardiacPhase",
)  # fmt: skip
# Where enhanced images keep, for each frame or for all, what other images have at the top.
_GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "RescaleType": "PixelValueTransformationSequence",
    "ConvolutionKernel": "CTReconstructionSequence",
    "EffectiveEchoTime": "MREchoSequence",
    "TemporalPositionIndex": "FrameContentSequence",
    "NominalPercentageOfCardiacPhase": "CardiacSynchronizationSequence",
}
_NOT_HU = ("OD", "MGML", "Z_EFF", "ED", "EDW", "PCT")  # what the rescale of a CT image may say that it gives instead
_NONE = "none"  # what isn't said, among the values that must be alike


class _Slice(NamedTuple):
    """One image of a series or one frame of a file; geometry in LPS mm."""

    path: Path
    frame: int
    corner: np.ndarray  # centre of the first pixel
    axes: np.ndarray  # (2, 3), unit vectors along a row and down a column
    pixel: np.ndarray  # (2,), distance of rows and of columns
    rescale: tuple[float, float] | None  # slope and intercept
    alike: dict[str, str]


class Series(NamedTuple):
    """What a DICOM series says of itself, without its pixels.

    Attributes:
        headers: of its images by file, in the order of the names.
        grid: of its volume, mm, RAS.
    """

    headers: dict[Path, pydicom.Dataset]
    grid: Grid


def read_series(source: Path) -> Series:
    """The headers and the grid of the volume that `DICOMReader` reads.

    Args:
        source: folder of one series, or a multi-frame file.

    Raises:
        InputError: it is no volume of evenly spaced, alike slices.
    """
    headers, slices, affine = _placed(source)
    first = slices[0].alike
    return Series(headers, Grid((int(first["Columns"]), int(first["Rows"]), len(slices)), affine))


class DICOMReader(ImageReader):
    """Reads a folder with the slices of one DICOM series, or one multi-frame DICOM file.

    Each slice is placed by its own position and scaled by its own slope and intercept: MONOCHROME1 says how to
    display values, not what they are. What is no volume of evenly spaced, alike slices is an `InputError`; a gantry
    tilt is none here and comes out as a sheared affine. A folder of a single slice is a volume where the slice says
    SpacingBetweenSlices.
    """

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Always true: DICOM files are recognised by their content."""
        return True

    def read(self, data: Sequence[PathLike], **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Read the one path in `data`.

        Returns:
            (X, Y, Z) float32 in the units of the rescale (HU for CT), and the meta of MONAI's readers, with the affine
            in RAS mm.
        """
        (name,) = data
        source = Path(name)
        _, slices, affine = _placed(source)
        volume = _values(source, slices)
        meta = {
            "affine": affine,
            "original_affine": affine.copy(),
            "spatial_shape": np.asarray(volume.shape),
            "original_channel_dim": "no_channel",
            "space": "RAS",
        }
        modality = slices[0].alike["Modality"]
        return volume, meta if modality == _NONE else {**meta, "modality": modality}

    def get_data(self, img: tuple[np.ndarray, dict[str, Any]]) -> tuple[np.ndarray, dict[str, Any]]:
        """What `read` has read."""
        return img


def _placed(source: Path) -> tuple[dict[Path, pydicom.Dataset], list[_Slice], np.ndarray]:
    """The headers of a series, its slices in the order of their positions, and the affine of their volume, RAS mm."""
    headers = find_series(source) if source.is_dir() else {source: read_header(source)}
    slices = [one for path, header in headers.items() for one in _slices(path, header)]
    _check_alike(source, slices)
    if len(slices) == 1:
        return headers, slices, _lone_affine(source, slices[0], *headers.values())
    return headers, *_stack(source, slices)


def _lone_affine(source: Path, one: _Slice, header: pydicom.Dataset) -> np.ndarray:
    """The affine of a single slice, RAS mm: the distance to the next one is what the slice says, if it does."""
    with reading(one.path):
        between = float(header.get("SpacingBetweenSlices") or 0)
    if not source.is_dir() or not 0 < between < np.inf:
        raise InputError(
            f"{source}: found one DICOM slice, expected at least 2 (give the folder with all of its series)"
        )
    return _affine(one, between * np.cross(*one.axes))


def _slices(path: Path, header: pydicom.Dataset) -> list[_Slice]:
    """The slices that a file holds."""
    with reading(path):
        if "Rows" not in header or "Columns" not in header:
            raise InputError(f"{path}: found no Rows and Columns, expected a DICOM image (truncated or damaged?)")
        count = int(header.get("NumberOfFrames") or 1)
        frames = header.get("PerFrameFunctionalGroupsSequence") or [pydicom.Dataset()] * count
        if len(frames) != count:
            raise InputError(f"{path}: found {len(frames)} descriptions of {count} frames, expected one for each")
        shared = list(header.get("SharedFunctionalGroupsSequence") or [])
        return [_slice(path, index, [frame, *shared], header) for index, frame in enumerate(frames)]


def _slice(path: Path, frame: int, groups: Sequence[pydicom.Dataset], header: pydicom.Dataset) -> _Slice:
    """One slice, from the groups that describe it and then the header of its file."""

    def find(keyword: str) -> Any:
        for group in groups if keyword in _GROUPS else ():
            for item in group.get(_GROUPS[keyword]) or ():
                if item.get(keyword) is not None:
                    return item.get(keyword)
        return header.get(keyword)

    def numbers(keyword: str, count: int) -> np.ndarray:
        found = np.atleast_1d(np.asarray(() if find(keyword) is None else find(keyword), float))
        if found.size != count or not np.isfinite(found).all():
            what = f"{keyword} {found.tolist()}" if found.size else f"no {keyword}"
            raise InputError(f"{path}: found {what}, expected {count} finite number{'s' if count > 1 else ''}")
        return found

    corner, pixel = numbers("ImagePositionPatient", 3), numbers("PixelSpacing", 2)
    axes = numbers("ImageOrientationPatient", 6).reshape(2, 3)
    if pixel.min() <= 0:
        raise InputError(f"{path}: found PixelSpacing {pixel.tolist()}, expected positive sizes in mm")
    lengths = np.linalg.norm(axes, axis=1)
    if np.abs(lengths - 1).max() > MOST_STRETCHED or abs(axes[0] @ axes[1]) > MOST_TURNED:
        found = axes.ravel().tolist()
        raise InputError(f"{path}: found ImageOrientationPatient {found}, expected two unit vectors at a right angle")
    if header.get("ModalityLUTSequence"):
        raise InputError(f"{path}: found a ModalityLUTSequence, expected RescaleSlope and RescaleIntercept")
    if header.get("Modality") == "CT" and find("RescaleType") in _NOT_HU:
        raise InputError(f"{path}: found CT values of RescaleType {find('RescaleType')}, expected HU")
    rescale = None
    if find("RescaleSlope") is not None or find("RescaleIntercept") is not None:
        rescale = numbers("RescaleSlope", 1).item(), numbers("RescaleIntercept", 1).item()
        if rescale[0] == 0:
            raise InputError(f"{path}: found RescaleSlope 0, expected another number")
    alike = {keyword: _text(find(keyword)) for keyword in _ALIKE}
    alike["RescaleSlope"] = _NONE if rescale is None else "some"
    return _Slice(path, frame, corner, axes / lengths[:, None], pixel, rescale, alike)


def _text(value: Any) -> str:
    """A value as text for comparisons; numbers are rounded."""
    return _NONE if value in (None, "") else f"{value:.6g}" if isinstance(value, float) else str(value)


def _check_alike(source: Path, slices: Sequence[_Slice]) -> None:
    """Refuses slices that do not form a volume."""
    first = slices[0]
    texts = {keyword: [one.alike[keyword] for one in slices] for keyword in first.alike}
    geometry = {
        "PixelSpacing": ([one.pixel for one in slices], MOST_STRETCHED * first.pixel.min()),
        "ImageOrientationPatient": ([one.axes for one in slices], MOST_TURNED),
    }
    for name, (arrays, tolerance) in geometry.items():
        # those that equal the first one up to rounding are replaced by it
        arrays = [arrays[0] if np.abs(array - arrays[0]).max() <= tolerance else array for array in arrays]
        texts[name] = [str(array.round(4).ravel().tolist()) for array in arrays]
    for keyword, values in texts.items():
        if len(set(values)) > 1:
            raise InputError(
                f"{source}: found DICOM slices with {keyword} {shown(values)}, expected the same in all of them"
            )


def _stack(source: Path, slices: Sequence[_Slice]) -> tuple[list[_Slice], np.ndarray]:
    """The slices in the order of their positions, and the affine of the volume in RAS mm."""
    normal = np.cross(*slices[0].axes)
    slices = sorted(slices, key=lambda one: float(one.corner @ normal))
    corners = np.stack([one.corner for one in slices])
    places = 1 + int((np.diff(corners @ normal) > ONE_PLACE).sum())
    if places < len(slices):
        raise InputError(
            f"{source}: found {len(slices)} DICOM slices at {places} position{'s' if places > 1 else ''}, expected one "
            "slice at each (several phases, echoes or copies?)"
        )
    step = (corners[-1] - corners[0]) / (len(slices) - 1)
    off = np.linalg.norm(corners - corners[0] - np.arange(len(slices))[:, None] * step, axis=1).max()
    most = min(MOST_UNEVEN, float(np.linalg.norm(step)) / 4)
    if off > most:
        raise InputError(
            f"{source}: found {len(slices)} DICOM slices that lie up to {off:.3g} mm off an even spacing, expected at "
            f"most {most:.3g} mm (is a slice missing?)"
        )
    return slices, _affine(slices[0], step)


def _affine(first: _Slice, step: np.ndarray) -> np.ndarray:
    """From voxels to RAS mm, by the first slice and the step to the next one."""
    affine = np.eye(4)
    affine[:3] = np.stack([first.axes[0] * first.pixel[1], first.axes[1] * first.pixel[0], step, first.corner], axis=1)
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # LPS to RAS


def _values(source: Path, slices: Sequence[_Slice]) -> np.ndarray:
    """(X, Y, Z) float32 of sorted slices.

    Padding has no value of its own: it becomes the lowest other value, or 0 if that is above 0.
    """
    volume = np.empty((len(slices), int(slices[0].alike["Rows"]), int(slices[0].alike["Columns"])), np.float32)
    padding: dict[int, np.ndarray] = {}
    of_file = defaultdict(list)
    for k, one in enumerate(slices):
        of_file[one.path].append((k, one))
    for path, ones in of_file.items():
        with reading(path):
            stored, padded = stored_values(path)
            for k, one in ones:
                slope, intercept = one.rescale or (1.0, 0.0)
                volume[k] = stored[one.frame] * slope + intercept
                if padded is not None and padded[one.frame].any():
                    padding[k] = padded[one.frame]
    if padding:
        lowest = min(float(values[~padding.get(k, False)].min(initial=np.inf)) for k, values in enumerate(volume))
        if lowest == np.inf:
            raise InputError(f"{source}: found nothing but padding in the DICOM slices, expected values")
        for k, outside in padding.items():
            volume[k][outside] = min(lowest, 0.0)
    return volume.T
