# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose, Orientation

from monai_iscs.errors import InputError
from monai_iscs.transforms import InputCompose, ct_postprocessing, ct_preprocessing


@pytest.fixture
def affine() -> np.ndarray:
    """RAS, square pixels, not centred."""
    return np.array([[2.0, 0, 0, -31], [0, 2.0, 0, -47], [0, 0, 3.0, 12], [0, 0, 0, 1]])


def there_and_back(path, *, change=lambda x: x, **options) -> tuple[MetaTensor, MetaTensor]:
    """The preprocessed volume, and its round trip to the file's grid with `change` in between."""
    preprocessing = ct_preprocessing(**options)
    data = preprocessing({"image": path})
    data["pred"] = MetaTensor(change(data["image"].as_tensor()))  # like a network's result: no history, no affine
    return data["image"], ct_postprocessing(transform=preprocessing)(data)["pred"]


@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "PIR", "SLA"])
def test_round_trip_is_exact_without_resampling(phantom, save, affine, axcodes):
    """Any orientation; padding to a larger in-plane size is cropped again."""
    turned = Orientation(axcodes, labels=None)(MetaTensor(phantom[None].astype(np.int16), affine=affine))
    path = save(turned[0].numpy().astype(np.int16), affine=turned.affine.numpy())
    image, back = there_and_back(path, size=64)
    assert image.shape == (1, 64, 64, 12)
    assert image.dtype == back.dtype == torch.float32
    assert image.min() == 0
    assert image.max() <= 1
    file = nibabel.load(path)
    assert back.shape == (1, *file.shape)
    np.testing.assert_allclose(back.affine, file.affine, atol=1e-6)
    np.testing.assert_allclose(back[0].numpy(), file.get_fdata().clip(-1000, 1600), atol=1e-3)


def test_the_preprocessed_volume_is_ras_in_prior_units(phantom, save, affine):
    image = ct_preprocessing(size=40)({"image": save(phantom)})["image"]
    expected = (phantom.clip(-1000, 1600) + 1000) / 2600
    np.testing.assert_allclose(image[0, :, 5:35].numpy(), expected, atol=1e-6)
    assert image[0, :, :5].sum() == image[0, :, 35:].sum() == 0
    np.testing.assert_allclose(image.affine @ torch.tensor([0, 5, 0, 1.0]).double(), affine[:, 3], atol=1e-9)


@pytest.mark.parametrize("name", ["lidc-idri-0001_standard.nii.gz", "totalseg_example_ct_sm.nii.gz"])
@pytest.mark.parametrize("spacing", [None, 3.0, (2.5, 2.5, 4.0)])
def test_round_trip_of_real_volumes(data_folder, name, spacing):
    """Back on the file's grid; away from edges linear interpolation keeps HU."""
    file = nibabel.load(data_folder / name)
    image, back = there_and_back(data_folder / name, size=96, spacing=spacing)
    assert image.shape[1:3] == (96, 96)
    assert back.shape == (1, *file.shape)
    np.testing.assert_allclose(back.affine, file.affine, atol=1e-5)
    hu = file.get_fdata().clip(-1000, 1600)
    error = back[0].numpy() - hu
    assert abs(np.median(error)) < 3
    assert np.corrcoef(back[0].numpy().ravel(), hu.ravel())[0, 1] > 0.97


def test_isotropic_voxels(phantom, save):
    image = ct_preprocessing(size=48, spacing=2.0)({"image": save(phantom)})["image"]
    np.testing.assert_allclose(image.pixdim, [2, 2, 2], atol=1e-6)
    assert image.shape == (1, 48, 48, 18)  # 12 slices of 3 mm


def test_a_coronal_stack(phantom, save, affine):
    """Thick slices along y: square pixels, and back on the file's grid."""
    affine[1, 1] = 6.0
    hu = phantom[:, ::3]
    image, back = there_and_back(save(hu, affine=affine), size=48)
    np.testing.assert_allclose(image.pixdim, [2, 2, 3], atol=1e-6)
    assert back.shape == (1, *hu.shape)
    np.testing.assert_allclose(back.affine, affine, atol=1e-6)
    np.testing.assert_allclose(back[0].numpy(), hu.clip(-1000, 1600), atol=1e-2)


def test_values_outside_the_range_are_kept(phantom, save):
    _, back = there_and_back(save(phantom), size=40, change=lambda x: x * 5 - 1)
    assert back.min() == pytest.approx(-3600)
    assert back.max() > 1600


def test_dicom_comes_back_on_its_own_grid(phantom, save_dicom):
    image, back = there_and_back(save_dicom(phantom), size=40)
    assert image.affine[0, 0] > 0  # RAS, where DICOM is LPS
    np.testing.assert_allclose(back[0].numpy(), phantom.clip(-1000, 1600), atol=1e-3)
    np.testing.assert_allclose(back.affine, [[-2, 0, 0, 40], [0, -2, 0, 30], [0, 0, 3, 5], [0, 0, 0, 1]], atol=1e-6)


def test_an_input_error_comes_out_as_it_is(phantom, save):
    with pytest.raises(InputError, match=r"bad\.nii\.gz: .*not HU"):
        ct_preprocessing()({"image": save(phantom + 1024, "bad.nii.gz")})


def test_also_from_inside_another_compose(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        InputCompose([Compose([ct_preprocessing()])])({"image": tmp_path / "none.nii.gz"})


def test_other_errors_stay_what_they_are():
    def fail(_):
        raise ZeroDivisionError

    with pytest.raises(RuntimeError, match="applying transform") as caught:
        InputCompose([fail])(1)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hu_range": (100, 100)}, "hu_range"),
        ({"hu_range": (-1024, 1600)}, "hu_range"),
        ({"spacing": 0.0}, "spacing"),
        ({"spacing": (1.0, 1.0, 900.0)}, "spacing"),
        ({"size": -1}, "size"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(InputError, match=f"{message}: found"):
        ct_preprocessing(**options)


def test_the_same_from_a_bundle_config(phantom, save):
    """As one target, and transform by transform."""
    scale = {"a_min": -1000.0, "a_max": 1600.0, "b_min": 0.0, "b_max": 1.0, "clip": True}
    config = {
        "short": {"_target_": "monai_iscs.transforms.ct_preprocessing", "size": 16},
        "long": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "monai_iscs.transforms.LoadVolumed", "keys": "image"},
                {"_target_": "monai_iscs.transforms.CheckCTVolumed", "keys": "image"},
                {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
                {"_target_": "ScaleIntensityRanged", "keys": "image", **scale},
                {"_target_": "monai_iscs.transforms.FitInPlaned", "keys": "image", "size": 16},
            ],
        },
        "after": {"_target_": "monai_iscs.transforms.ct_postprocessing", "transform": "@long"},
    }
    parser = ConfigParser(config)
    path = save(phantom)
    short, long = (parser.get_parsed_content(name)({"image": path})["image"] for name in ("short", "long"))
    assert isinstance(parser.get_parsed_content("long"), Compose)
    assert torch.equal(short, long)
    assert torch.equal(short.affine, long.affine)
    back = parser.get_parsed_content("after")({"image": long, "pred": long.clone()})["pred"]
    assert back.shape == (1, *phantom.shape)
