# SPDX-License-Identifier: Apache-2.0
"""Every volume of a folder is found or reported as left out, and no two results share a file."""

from __future__ import annotations

import warnings
from pathlib import Path

import itk
import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import SaveImage
from pydicom.dataset import FileMetaDataset

from monai_iscs.engines import ResultLayout, list_volumes, volume_names
from monai_iscs.errors import InputError, InputWarning
from monai_iscs.transforms import LoadVolume

with warnings.catch_warnings():  # ITK's lazily loaded modules crash where this warning is made an error
    warnings.filterwarnings("ignore", "builtin type [sS]wig", DeprecationWarning)
    itk.image_from_array(np.zeros((2, 2), np.int16))


def save(path: Path) -> None:
    """Writes a small volume; NIfTI with any spelling of its ending."""
    values = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
    path.parent.mkdir(parents=True, exist_ok=True)
    if ".nii" in path.name.lower():
        lower = path.with_name(path.name.lower())
        nib.save(nib.Nifti1Image(values, np.eye(4)), lower)
        lower.rename(path)
    else:
        itk.imwrite(itk.image_from_array(np.ascontiguousarray(values.T)), str(path))


def save_slice(path: Path, k: int = 0, frames: int | None = None) -> None:
    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID, data.SeriesInstanceUID = pydicom.uid.CTImageStorage, f"1.2.{k + 1}", "1.2"
    data.Modality, data.Rows, data.Columns, data.PixelSpacing = "CT", 3, 4, [1, 1]
    data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, k], [1, 0, 0, 0, 1, 0]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    if frames:
        data.NumberOfFrames = frames
    data.PixelData = bytes(24 * (frames or 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def test_every_volume_that_can_be_read_is_found(tmp_path: Path) -> None:
    files = [
        *("UPPER.NII.GZ", "same.nii.gz", "same.nrrd", "same.mha", "plain.nii"),
        *("luna.mhd", "apart.nhdr", "1.2.840.1.nii.gz", "1.2.840.2.nii.gz"),
    ]
    for name in files:
        save(tmp_path / name)
    for k in range(3):
        save_slice(tmp_path / "series" / f"IM{k}", k)
    (tmp_path / "README.md").write_text("three patients")
    (tmp_path / ".DS_Store").write_bytes(b"\0\1")
    assert any(file.suffix == ".raw" or file.name.endswith(".raw.gz") for file in tmp_path.iterdir())
    found = list_volumes(tmp_path)  # the raw data belong to their header and are not reported
    assert sorted(Path(file).name for file in found) == sorted([*files, "series"])
    for file in found:
        assert LoadVolume()(file).ndim == 4


def test_what_is_left_out_is_named(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz")
    for name in ("brain.mgz", "lonely.raw", "brain.img"):
        (tmp_path / name).write_bytes(bytes(99))
    save(tmp_path / "more" / "b.nii.gz")
    with pytest.warns(InputWarning, match=r"found 1 volumes, left out 4 .*brain\.img, brain\.mgz, lonely\.raw, more\)"):
        assert list_volumes(tmp_path) == [str(tmp_path / "a.nii.gz")]


def test_dicom_slices_are_one_volume_and_frames_another(tmp_path: Path) -> None:
    for k in range(3):
        save_slice(tmp_path / f"IM{k}.dcm", k)
    assert list_volumes(tmp_path) == [str(tmp_path)]
    assert LoadVolume()(list_volumes(tmp_path)[0]).shape == (1, 4, 3, 3)
    save_slice(tmp_path / "other" / "frames", frames=12)
    assert list_volumes(tmp_path / "other") == [str(tmp_path / "other" / "frames")]


def test_a_folder_without_volumes_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"found no such folder, expected a folder with volumes"):
        list_volumes(tmp_path / "nothing")
    (tmp_path / "brain.mgz").write_bytes(bytes(99))
    with pytest.raises(InputError, match=r"found 1 other files \(brain\.mgz\), expected a folder with volumes"):
        list_volumes(tmp_path)


def test_names_of_volumes(tmp_path: Path) -> None:
    names = ["1.2.840.1.nii.gz", "1.2.840.2.nii.gz", "same.nii.gz", "same.nrrd", "UPPER.NII.GZ", "scan.IMA", "1.2.3"]
    expected = ["1.2.840.1", "1.2.840.2", "same.nii.gz", "same.nrrd", "UPPER", "scan", "1.2.3"]
    assert volume_names([tmp_path / name for name in names]) == expected
    (tmp_path / "1.2.nii").mkdir()
    assert volume_names([tmp_path / "1.2.nii"]) == ["1.2.nii"]  # a folder is not a file


def test_names_are_never_shared(tmp_path: Path) -> None:
    names = ["a/x.nii", "b/x.nii", "b/X.nii", "x.nrrd", "x", "x.nii.nii.gz", "x.nrrd.nii"]
    found = volume_names([tmp_path / name for name in names])
    assert len({name.casefold() for name in found}) == len(names)


def test_results_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    files = ["in/same.nii.gz", "in/same.nrrd", "in/1.2.840.1.nii.gz", "in/1.2.840.2.nii.gz"]
    out = tmp_path / "out"
    save = SaveImage(folder_layout=ResultLayout(out, files=files), print_log=False)
    for value, file in enumerate([*files, "elsewhere/same.nrrd"]):
        save(MetaTensor(torch.full((1, 2, 3, 4), float(value)), meta={"filename_or_obj": file}))
    names = ["same.nii.gz", "same.nrrd", "1.2.840.1", "1.2.840.2", "same.nrrd-2"]
    for value, name in enumerate(names):
        assert nib.load(out / f"{name}_reconstruction.nii.gz").get_fdata().mean() == value
    assert len(list(out.iterdir())) == len(names)
