# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_iscs.errors import InputError
from monai_iscs.transforms import (
    CheckCTVolume,
    CheckCTVolumeD,
    CheckCTVolumed,
    CheckCTVolumeDict,
    CheckMRVolume,
    CheckMRVolumed,
    CheckMRVolumeDict,
)


def image(array: np.ndarray, affine: np.ndarray) -> MetaTensor:
    meta = {"filename_or_obj": "patient.nii.gz"}
    return MetaTensor(torch.as_tensor(array)[None].float(), affine=torch.as_tensor(affine), meta=meta)


def test_a_ct_passes_unchanged(phantom, affine):
    volume = image(phantom, affine)
    assert CheckCTVolume()(volume) is volume


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.2])
def test_an_oblique_ct_passes(phantom, affine, angle):
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine[:3, :3] = turn @ affine[:3, :3]
    CheckCTVolume()(image(phantom, affine))


def test_padding_below_air_passes(phantom, affine):
    phantom[0] = -3024
    CheckCTVolume()(image(phantom, affine))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda hu: hu[:, :, 5], r"shape \(40, 30\), expected one 3D volume"),
        (lambda hu: hu[:, :, 5:6], r"shape \(40, 30, 1\), expected at least 2 voxels"),
        (lambda hu: np.full_like(hu, 7), "found 7 in every voxel, expected a CT"),
        (lambda hu: (hu + 1024) / 3000, "not HU"),
        (lambda hu: hu + 1024, "not HU"),  # stored values without the rescale intercept
        (lambda hu: (hu + 1024) / 8, "not HU"),
        (lambda hu: (hu + 24) / 1000, "not HU"),  # scaled to [-1, 1]
        (lambda hu: hu.clip(-2000, -900), "not HU"),  # only air
        (lambda hu: np.where(hu == 40, np.nan, hu), "NaN or infinite voxels"),
        (lambda hu: np.where(hu == 700, np.inf, hu), "NaN or infinite voxels"),
    ],
)
def test_what_is_not_a_ct(phantom, affine, change, message):
    with pytest.raises(InputError, match=rf"^patient\.nii\.gz: .*{message}"):
        CheckCTVolume()(image(change(phantom.astype(np.float32)), affine))


def test_four_dimensions(phantom, affine):
    moving = image(phantom, affine).repeat(3, 1, 1, 1)  # LoadImage makes the time axis channels
    with pytest.raises(InputError, match=r"shape \(40, 30, 12, 3\), expected one 3D volume"):
        CheckCTVolume()(moving)


def test_sheared_affine(phantom, affine):
    affine[1, 2] = np.tan(np.radians(1.0)) * 3  # a gantry tilt of one degree
    with pytest.raises(InputError, match=r"patient\.nii\.gz: found a sheared affine, .* expected at most"):
        CheckCTVolume()(image(phantom, affine))


@pytest.mark.parametrize("scale", [1e-3, 1e-6, 100, 1e6])
def test_voxels_of_another_unit(phantom, affine, scale):
    affine[:3, :3] *= scale
    with pytest.raises(InputError, match=r"patient\.nii\.gz: (found voxels of .* mm, expected 0\.02 to 50|singular)"):
        CheckCTVolume()(image(phantom, affine))


@pytest.mark.parametrize("column", [[0, 0, 0], [2, 0, 0], [np.nan, 0, 0]])
def test_singular_affine(phantom, affine, column):
    affine[:3, 1] = column
    with pytest.raises(InputError, match=r"patient\.nii\.gz: found a singular affine.*, expected"):
        CheckCTVolume()(image(phantom, affine))


def test_plain_tensor(phantom):
    with pytest.raises(InputError, match="found no affine, expected a MetaTensor"):
        CheckCTVolume()(torch.from_numpy(phantom)[None].float())


def test_dictionary(phantom, affine):
    volume = image(phantom, affine)
    assert CheckCTVolumed("ct")({"ct": volume, "name": "a"})["ct"] is volume
    assert CheckCTVolumeD is CheckCTVolumed
    assert CheckCTVolumeDict is CheckCTVolumed


def test_an_mr_volume_passes_unchanged(phantom, affine):
    volume = image((phantom + 1024) / 2, affine)
    assert CheckMRVolume()(volume) is volume
    assert CheckMRVolumed("mr")({"mr": volume})["mr"] is volume
    assert CheckMRVolumeDict is CheckMRVolumed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda hu: hu, r"values from -1024 to 700, .*% of them clearly negative.* \(a CT in HU, or a normalised"),
        (lambda hu: hu / 1000, "clearly negative, expected MR magnitudes"),
        (lambda hu: hu[:, :, 5], "expected one 3D volume"),
        (lambda hu: np.full_like(hu, 7), "found 7 in every voxel, expected an MR volume"),
        (lambda hu: np.where(hu == 40, np.nan, hu), "expected finite signal everywhere"),
    ],
)
def test_what_is_not_an_mr_volume(phantom, affine, change, message):
    with pytest.raises(InputError, match=rf"^patient\.nii\.gz: .*{message}"):
        CheckMRVolume()(image(change(phantom.astype(np.float32)), affine))
