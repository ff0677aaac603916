# SPDX-License-Identifier: Apache-2.0
"""Small files in the layouts of the archives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from monai_iscs.datasets.archives import ARCHIVES
from monai_iscs.datasets.preparing import find_volumes, prepare_volumes
from monai_iscs.errors import InputError


@pytest.fixture(scope="session")
def hu(phantom) -> np.ndarray:
    """A body of (36, 32, 4) voxels, int16; treat as read-only."""
    return phantom[:, :, 4:8].astype(np.int16)


@pytest.fixture
def archive(tmp_path) -> Path:
    """The folder of what was downloaded."""
    (tmp_path / "archive").mkdir()
    return tmp_path / "archive"


@pytest.fixture
def save_series(archive, hu) -> Callable[..., Path]:
    """``save_series("L067/full_1mm", PatientID="L067")``: DICOM slices of 2 x 2 mm, 3 mm apart, with these elements."""

    def save(place: str, *, values: np.ndarray = hu, series: str = "1.2.3", ending: str = ".IMA", **elements) -> Path:
        folder = archive / place
        folder.mkdir(parents=True, exist_ok=True)
        for k in range(values.shape[2]):
            data = pydicom.Dataset()
            data.file_meta = FileMetaDataset()
            data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            data.SOPClassUID, data.SOPInstanceUID, data.SeriesInstanceUID = CTImageStorage, f"{series}.{k + 1}", series
            data.Modality, data.Rows, data.Columns = "CT", *values.shape[1::-1]
            data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
            data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
            data.ImagePositionPatient, data.ImageOrientationPatient = [-40, -30, 5 + 3 * k], [1, 0, 0, 0, 1, 0]
            data.PixelSpacing, data.RescaleSlope, data.RescaleIntercept = [2, 2], 1, -1024
            data.PixelData = (values[:, :, k].T + np.int16(1024)).tobytes()
            data.update({keyword: value for keyword, value in elements.items() if value is not None})
            data.save_as(folder / f"{series}.{k:04d}{ending}", enforce_file_format=True)
        return folder

    return save


@pytest.fixture
def series_affine() -> np.ndarray:
    """Of the volumes of `save_series`, RAS: DICOM's x and y are turned."""
    return np.array([[-2.0, 0, 0, 40], [0, -2, 0, 30], [0, 0, 3, 5], [0, 0, 0, 1]])


@pytest.fixture
def prepare(tmp_path, archive) -> Callable[..., Path]:
    """``prepare("ixi")``: prepares the archive and returns the folder."""

    def run(name: str, folder: Path = archive, **options) -> Path:
        output = tmp_path / "prepared"
        output.mkdir(exist_ok=True)
        prepare_volumes(ARCHIVES[name], find_volumes(ARCHIVES[name], folder), output, **options)
        return output

    return run


@pytest.fixture
def refused(tmp_path, prepare) -> Callable[..., str]:
    """``refused("ixi")``: the one line that refuses the archive, after which nothing is written."""

    def run(name: str, *arguments) -> str:
        with pytest.raises(InputError) as error:
            prepare(name, *arguments)
        assert "\n" not in str(error.value)
        assert ": found " in str(error.value)
        assert ", expected " in str(error.value)
        assert not list((tmp_path / "prepared").rglob("*.nii.gz"))
        assert not (tmp_path / "prepared" / "manifest.csv").exists()
        return str(error.value)

    return run


@pytest.fixture
def same() -> Callable[..., None]:
    """``same(file, values, affine)``: a NIfTI file has exactly these values, their type and this affine in mm."""

    def check(file: Path, values: np.ndarray, affine: np.ndarray) -> None:
        image = nib.load(file)
        assert image.get_data_dtype() == values.dtype
        np.testing.assert_array_equal(np.asanyarray(image.dataobj), values)
        for form, code in (image.get_sform(coded=True), image.get_qform(coded=True)):
            np.testing.assert_allclose(form, affine, atol=1e-5)
            assert code == 1
        assert image.header.get_xyzt_units()[0] == "mm"

    return check


def _tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def tree() -> Callable[[Path], set[str]]:
    """``tree(folder)``: all files below it."""
    return _tree
