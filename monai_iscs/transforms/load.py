# SPDX-License-Identifier: Apache-2.0
"""Reading a volume from a file or a DICOM folder, with errors that name it."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import itk
from monai.config import KeysCollection, PathLike
from monai.data import ImageReader, ITKReader, MetaTensor
from monai.transforms import LoadImage, MapTransform, Transform

from monai_iscs.errors import InputError
from monai_iscs.transforms.itk_files import META_IMAGE, NRRD, VolumeReader
from monai_iscs.transforms.nifti import NiftiReader

NIFTI = (".nii", ".nii.gz")
ITK = (*NRRD, *META_IMAGE, ".dcm")
MOST_UNEVEN = 0.05  # mm that a slice of a DICOM series may lie off its even place


class _SeriesReader(ITKReader):
    """Reads a folder with one evenly spaced DICOM series; the affine of a gantry-tilted one comes out sheared."""

    def read(self, data: Any, **kwargs: Any) -> Any:
        (folder,) = data
        names = itk.GDCMSeriesFileNames.New(Directory=folder, UseSeriesDetails=True)
        series = names.GetSeriesUIDs()
        if len(series) != 1:
            raise InputError(f"{folder}: found {len(series) or 'no'} DICOM series in the folder, expected exactly one")
        image = super().read(data, **kwargs)
        files = names.GetFileNames(series[0])
        if len(files) > 1:
            # ITK lays the slices at a right angle by default, so that a tilt would pass unseen: what it finds between
            # the first and the last slice without that is the direction in which they really stack.
            unforced = itk.ImageSeriesReader.New(FileNames=files, ForceOrthogonalDirection=False)
            unforced.UpdateOutputInformation()
            image.SetDirection(unforced.GetOutput().GetDirection())
            image.SetSpacing(unforced.GetOutput().GetSpacing())
        meta = image.GetMetaDataDictionary()
        key = "ITK_non_uniform_sampling_deviation"  # set by ITK, which then goes on with the mean spacing
        if meta.HasKey(key) and meta[key] > MOST_UNEVEN:
            raise InputError(
                f"{folder}: the slices of the DICOM series lie up to {meta[key]:.3g} mm off an even spacing, expected "
                f"at most {MOST_UNEVEN:g} mm (is a slice missing?)"
            )
        return image


def _reader(path: Path) -> ImageReader:
    """The MONAI reader for a path, or an `InputError`."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if path.is_dir():
        return _SeriesReader()
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    name = path.name.lower()
    if name.endswith(NIFTI):
        return NiftiReader()
    if name.endswith((*NRRD, *META_IMAGE)):
        return VolumeReader()
    if name.endswith(ITK):
        return ITKReader()
    raise InputError(f"{path}: unsupported file type, expected {', '.join((*NIFTI, *ITK))} or a folder of DICOM files")


def _reason(error: Exception) -> str:
    """The line of a reader's error that says what went wrong: ITK puts it last, nibabel before a hint."""
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line and not line.startswith(("-", "Reason:"))]
    return lines[-1][:200] if lines else type(error).__name__


@contextmanager
def _quiet_itk() -> Iterator[None]:
    """ITK prints warnings for damaged files and empty folders; the error says it better."""
    with warnings.catch_warnings():
        # ITK's lazily loaded modules crash the process where this warning is made an error
        warnings.filterwarnings("ignore", "builtin type [sS]wig", DeprecationWarning)
        shown = itk.Object.GetGlobalWarningDisplay()
        itk.Object.SetGlobalWarningDisplay(False)
        try:
            yield
        finally:
            itk.Object.SetGlobalWarningDisplay(shown)


class LoadVolume(Transform):
    """Load an image as MONAI's `LoadImage` does, but with one-line errors that name the file.

    NIfTI is read with nibabel; NRRD, MHA/MHD and DICOM (a file, or a folder that holds one series) with ITK.
    """

    def __call__(self, data: PathLike) -> MetaTensor:
        """Read `data`.

        Args:
            data: path of the file or DICOM folder.

        Returns:
            Channel-first float32 (C, X, Y, Z), affine in RAS mm, file name in `meta["filename_or_obj"]`. The affine of
            a DICOM series taken with a tilted gantry is sheared, which the checks (`CheckCTVolume`) refuse.

        Raises:
            InputError: if the path is missing, empty, truncated, damaged or of an unsupported type, or if a folder
                doesn't hold exactly one evenly spaced DICOM series.
        """
        path = Path(data).expanduser()
        reader = _reader(path)
        try:
            with _quiet_itk():
                image = LoadImage(image_only=True, ensure_channel_first=True)(path, reader=reader)
        except InputError:
            raise
        except Exception as error:  # nibabel, zlib and ITK each raise kinds of their own for a damaged file
            raise InputError(f"{path}: can't be read, truncated or damaged? ({_reason(error)})") from error
        return image


class LoadVolumed(MapTransform):
    """Dictionary version of `LoadVolume`: paths at `keys` become volumes."""

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.load = LoadVolume()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Load every key; raises as `LoadVolume` does."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.load(result[key])
        return result


LoadVolumeD = LoadVolumeDict = LoadVolumed
