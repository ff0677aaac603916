# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itk
import numpy as np
import pytest

from monai_iscs.errors import InputError
from monai_iscs.transforms import LoadVolume, LoadVolumeD, LoadVolumed, LoadVolumeDict, ct_preprocessing


@pytest.mark.parametrize("ending", [".mha", ".nrrd", ".mhd", ".nii", ".nii.gz"])
def test_every_file_type_gives_the_same_volume(phantom, tmp_path, ending):
    image = itk.image_from_array(np.ascontiguousarray(phantom.T))
    image.SetSpacing([2.0, 2.0, 3.0])
    image.SetOrigin([-40.0, -30.0, 5.0])
    path = tmp_path / f"ct{ending}"
    itk.imwrite(image, str(path))
    volume = LoadVolume()(path)
    assert volume.shape == (1, 40, 30, 12)
    np.testing.assert_array_equal(volume[0].numpy(), phantom)
    # ITK's LPS as RAS
    np.testing.assert_allclose(volume.affine, [[-2, 0, 0, 40], [0, -2, 0, 30], [0, 0, 3, 5], [0, 0, 0, 1]], atol=1e-6)
    assert volume.meta["filename_or_obj"] == str(path)


def test_dicom_folder(phantom, save_dicom):
    folder = save_dicom(phantom)
    volume = LoadVolumed("image")({"image": folder})["image"]
    np.testing.assert_array_equal(volume[0].numpy(), phantom)
    np.testing.assert_allclose(volume.affine, [[-2, 0, 0, 40], [0, -2, 0, 30], [0, 0, 3, 5], [0, 0, 0, 1]], atol=1e-6)


def test_missing_dicom_slice(phantom, save_dicom):
    folder = save_dicom(phantom, missing=5)
    with pytest.raises(InputError, match=rf"{folder}: .*off an even spacing"):
        LoadVolume()(folder)


def test_a_tilted_gantry(phantom, save_dicom):
    """Slices that stack along another direction than their normal, as with a tilt of one degree."""
    shift = 3 * float(np.tan(np.radians(1)))
    folder = save_dicom(phantom, shift=shift)
    # to RAS: y is reversed
    np.testing.assert_allclose(LoadVolume()(folder).affine[:3, 2], [0, -shift, 3], atol=1e-4)
    with pytest.raises(InputError, match=rf"{folder}: found a sheared affine, .*gantry tilt"):
        ct_preprocessing()({"image": folder})


def test_two_dicom_series(phantom, save_dicom):
    save_dicom(phantom)
    folder = save_dicom(phantom, series="1.2.3.5")
    with pytest.raises(InputError, match=rf"{folder}: found 2 DICOM series"):
        LoadVolume()(folder)


def test_folder_without_dicom(tmp_path, capfd):
    (tmp_path / "notes.txt").write_text("nothing to see")
    with pytest.raises(InputError, match=rf"{tmp_path}: found no DICOM series"):
        LoadVolume()(tmp_path)
    assert capfd.readouterr().err == ""


def test_a_broken_sform_is_not_replaced_by_the_qform(phantom, save, affine):
    affine[0, 0] = 0
    np.testing.assert_array_equal(LoadVolume()(save(phantom, affine=affine)).affine, affine)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=rf"{tmp_path / 'no.nii.gz'}: found no such file"):
        LoadVolume()(tmp_path / "no.nii.gz")


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz", "ct.nrrd", "ct.mha"])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.6])
def test_truncated_file(phantom, save, tmp_path, name, kept):
    if name.startswith("ct.nii"):
        path = save(phantom, name)
    else:
        path = tmp_path / name
        itk.imwrite(itk.image_from_array(np.ascontiguousarray(phantom.T)), str(path))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(InputError, match=f"^{path}: ") as caught:
        LoadVolume()(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.mha", "ct.dcm"])
def test_a_file_that_is_something_else(tmp_path, name):
    (tmp_path / name).write_bytes(b"this is no image " * 50)
    with pytest.raises(InputError, match=rf"^{tmp_path / name}: found .*truncated or damaged"):
        LoadVolume()(tmp_path / name)


def test_unsupported_type(tmp_path):
    (tmp_path / "ct.png").write_bytes(b"PNG")
    with pytest.raises(InputError, match=r"ct\.png: found an unsupported file type, expected \.nii"):
        LoadVolume()(tmp_path / "ct.png")


def test_aliases():
    assert LoadVolumeD is LoadVolumed
    assert LoadVolumeDict is LoadVolumed
