# SPDX-License-Identifier: Apache-2.0
"""Files for the transforms to read."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import itk
import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

with warnings.catch_warnings():  # ITK's lazily loaded modules crash where this warning is made an error
    warnings.filterwarnings("ignore", "builtin type [sS]wig", DeprecationWarning)
    itk.GDCMImageIO, itk.image_from_array(np.zeros((2, 2), np.int16))


@pytest.fixture
def phantom() -> np.ndarray:
    """A 40 x 30 x 12 "patient" in HU, int16: soft tissue with a bone and a lung, nothing symmetric."""
    x, y, z = np.meshgrid(*(np.arange(n) for n in (40, 30, 12)), indexing="ij")
    hu = np.full(x.shape, -1024, np.int16)
    hu[(x - 18) ** 2 / 225 + (y - 14) ** 2 / 121 < 1] = 40
    hu[(x - 10) ** 2 + (y - 16) ** 2 < 9 + z] = 700
    hu[(x - 25) ** 2 + (y - 12) ** 2 < 20] = -800
    return hu


@pytest.fixture
def affine() -> np.ndarray:
    """RAS, anisotropic, not centred."""
    return np.array([[2.0, 0, 0, -31], [0, 2.5, 0, -47], [0, 0, 3.0, 12], [0, 0, 0, 1]])


@pytest.fixture
def save(tmp_path: Path, affine: np.ndarray) -> Callable[..., Path]:
    """Writes an array as NIfTI; the affine is written to the sform unchanged, even if it is invalid."""

    def write(array: np.ndarray, name: str = "ct.nii.gz", *, affine: np.ndarray = affine) -> Path:
        image = nibabel.Nifti1Image(array, None)
        image.set_sform(affine, code=1)
        nibabel.save(image, tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def save_dicom(tmp_path: Path) -> Callable[..., Path]:
    """Writes (X, Y, Z) HU as a folder of DICOM slices of 2 x 2 mm, 3 mm apart, with file names in no order.

    A tilted gantry shifts each slice against the one before it, by `shift` mm along y.
    """

    def write(
        array: np.ndarray,
        *,
        missing: int | None = None,
        series: str = "1.2.3.4",
        name: str = "dicom",
        shift: float = 0.0,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for k in range(array.shape[2]):
            if k == missing:
                continue
            image = itk.image_from_array(np.ascontiguousarray(array[:, :, k].T))
            image.SetSpacing([2.0, 2.0])
            tags = {
                "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
                "0008|0018": f"{series}.{k + 1}",
                "0008|0021": "20200101",
                "0008|0060": "CT",
                "0020|000d": "1.2.3",
                "0020|000e": series,
                "0020|0013": str(k + 1),
                "0020|0032": f"-40\\{-30 + shift * k:g}\\{5 + 3 * k}",
                "0020|0037": "1\\0\\0\\0\\1\\0",
                "0028|1052": "-1024",
                "0028|1053": "1",
            }
            for tag, value in tags.items():
                image.GetMetaDataDictionary()[tag] = value
            gdcm = itk.GDCMImageIO.New(KeepOriginalUID=True)
            file = folder / f"{k * 7 % 100:03d}_{series}.dcm"
            writer = itk.ImageFileWriter[type(image)].New(Input=image, FileName=str(file), ImageIO=gdcm)
            writer.Update()
        return folder

    return write


@pytest.fixture
def volume(phantom: np.ndarray, affine: np.ndarray) -> MetaTensor:
    """The phantom in prior units, (1, X, Y, Z)."""
    values = torch.from_numpy((phantom.clip(-1000, 1600) + 1000) / 2600).float()[None]
    return MetaTensor(values, affine=torch.from_numpy(affine), meta={"filename_or_obj": "phantom.nii.gz"})
