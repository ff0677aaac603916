# SPDX-License-Identifier: Apache-2.0
"""The slices of volumes that a prior is trained on."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_iscs.engines import list_volumes, load_slices, middle_with_neighbours
from monai_iscs.errors import InputError


def test_slices_are_the_volumes_own(tmp_path: Path) -> None:
    volume = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
    nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii.gz")
    assert list_volumes(tmp_path) == [str(tmp_path / "a.nii.gz")]

    def load(item: dict) -> dict:
        return {"image": torch.from_numpy(nib.load(item["image"]).get_fdata())[None]}

    axial = load_slices(list_volumes(tmp_path), load)
    assert len(axial) == 6
    np.testing.assert_array_equal(axial[2]["image"][0].float(), volume[:, :, 2])
    coronal = load_slices(list_volumes(tmp_path), load, slice_axis=1, every=2)
    np.testing.assert_array_equal(coronal[1]["image"][0].float(), volume[:, 3])


def test_slices_of_other_pixels_than_square_ones_are_refused() -> None:
    def read(data: dict) -> dict:
        return {"image": MetaTensor(torch.zeros(1, 8, 8, 4), affine=torch.diag(torch.tensor([1.0, 2.0, 3.0, 1.0])))}

    with pytest.raises(InputError, match=r"a\.nii: found pixels of 1 x 2 mm in its slices, expected square ones"):
        load_slices(["a.nii"], read)


def test_every_volume_gives_a_slice_and_too_few_are_told() -> None:
    volumes = {"thin/a.nii": torch.rand(1, 8, 8, 3), "thin/b.nii": torch.rand(1, 8, 8, 20)}

    def read(item: dict) -> dict:
        return {"image": volumes[item["image"]]}

    found = load_slices(list(volumes), read, every=8)
    expected = [volumes["thin/a.nii"][..., 1], volumes["thin/b.nii"][..., 4], volumes["thin/b.nii"][..., 12]]
    assert all(torch.equal(item["image"], image.half()) for item, image in zip(found, expected, strict=True))
    with pytest.raises(InputError, match=r"thin: found 3 slices, expected at least 4 \(one batch\)"):
        load_slices(["thin/a.nii"], read, at_least=4)


def test_groups_of_slices_are_views_that_know_their_distance() -> None:
    volume = torch.rand(1, 8, 8, 10)
    affine = torch.diag(torch.tensor([1.0, 1.0, 2.5, 1.0]))

    def read(item: dict) -> dict:
        return {"image": MetaTensor(volume, affine=affine)}

    found = load_slices(["a.nii"], read, group=3, strides=(1, 3))
    assert len(found) == 8 + 4
    for stride, first, item in [(1, 0, found[0]), (1, 7, found[7]), (3, 0, found[8]), (3, 3, found[11])]:
        expected = volume[0, ..., first : first + 2 * stride + 1 : stride].movedim(-1, 0).half()
        assert torch.equal(item["image"], expected)
        torch.testing.assert_close(item["condition"], torch.tensor([stride * 2.5]).log())
    assert len({item["image"].untyped_storage().data_ptr() for item in found}) == 1
    assert len(load_slices(["a.nii"], read, group=3, every=4)) == 2
    with pytest.raises(InputError, match=r"found 0 groups of 3 slices, expected at least 1 \(one batch\)"):
        load_slices(["a.nii"], read, group=3, strides=(5,), at_least=1)


def test_the_middle_of_a_group_and_its_neighbours() -> None:
    group = torch.arange(6.0)[:, None, None].expand(6, 2, 2)
    item = middle_with_neighbours({"image": group, "condition": 1})
    assert torch.equal(item["image"], group[2:4])
    assert torch.equal(item["neighbours"], group[[0, 1, 4, 5]])
    assert item["condition"] == 1
