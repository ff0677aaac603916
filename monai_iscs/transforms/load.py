# SPDX-License-Identifier: Apache-2.0
"""Reading a volume from a file or a DICOM folder, with errors that name it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import itk
from monai.config import KeysCollection, PathLike
from monai.data import ImageReader, MetaTensor
from monai.transforms import LoadImage, MapTransform, Transform

from monai_iscs.dicom import check_pydicom, is_dicom
from monai_iscs.errors import InputError
from monai_iscs.transforms.itk_files import META_IMAGE, NRRD, VolumeReader
from monai_iscs.transforms.nifti import NiftiReader

NIFTI = (".nii", ".nii.gz")
ITK = (*NRRD, *META_IMAGE)


def _reader(path: Path) -> ImageReader:
    """The MONAI reader for a path, or an `InputError`."""
    if not path.exists():
        raise InputError(f"{path}: found no such file or folder, expected a volume")
    if path.is_dir():
        return _dicom_reader()
    if path.stat().st_size == 0:
        raise InputError(f"{path}: found an empty file, expected a volume")
    name = path.name.lower()
    if name.endswith(NIFTI):
        return NiftiReader()
    if name.endswith(ITK):
        return VolumeReader()
    if is_dicom(path):
        return _dicom_reader()
    raise InputError(
        f"{path}: found an unsupported file type, expected {', '.join((*NIFTI, *ITK))} or DICOM (file or folder)"
    )


def _dicom_reader() -> ImageReader:
    check_pydicom()
    from monai_iscs.transforms.dicom import DICOMReader

    return DICOMReader()


def _reason(error: Exception) -> str:
    """The line of a reader's error that says what went wrong: ITK puts it last, nibabel before a hint."""
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line and not line.startswith(("-", "Reason:"))]
    return lines[-1][:200] if lines else type(error).__name__


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Silences ITK's warnings for damaged files, which become errors, and MONAI's about a reader that isn't used."""
    unused = logging.getLogger("monai.data.nvimgcodec_pydicom_plugin")
    level = unused.level
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "NvImgCodecPydicomReader", UserWarning)
        # ITK's lazily loaded modules crash the process where this warning is made an error
        warnings.filterwarnings("ignore", "builtin type [sS]wig", DeprecationWarning)
        shown = itk.Object.GetGlobalWarningDisplay()
        itk.Object.SetGlobalWarningDisplay(False)
        unused.setLevel(logging.ERROR)
        try:
            yield
        finally:
            unused.setLevel(level)
            itk.Object.SetGlobalWarningDisplay(shown)


class LoadVolume(Transform):
    """Load an image as MONAI's `LoadImage` does, but with one-line errors that name the file.

    NIfTI is read with nibabel, NRRD and MHA/MHD with ITK, DICOM (a folder that holds one series, or a multi-frame file)
    with `DICOMReader`.
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
                doesn't hold exactly one DICOM series of evenly spaced, similar slices.
        """
        path = Path(data).expanduser()
        reader = _reader(path)
        try:
            with _quiet_libraries():
                image = LoadImage(image_only=True, ensure_channel_first=True)(path, reader=reader)
        except InputError:
            raise
        except Exception as error:  # nibabel, zlib and ITK raise different errors for a damaged file
            raise InputError(
                f"{path}: found a truncated or damaged file ({_reason(error)}), expected a readable volume"
            ) from error
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
