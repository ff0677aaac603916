# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from monai_iscs.errors import InputError
from monai_iscs.transforms import resample
from monai_iscs.transforms.resample import ResampleVolumed


@pytest.fixture
def volume():
    affine = torch.diag(torch.tensor([2.0, 2.0, 4.0, 1.0]))
    return MetaTensor(torch.rand(1, 10, 10, 5), affine=affine, meta={"filename_or_obj": "a.nii"})


def test_the_size_of_the_voxels_and_an_axis_that_stays(volume):
    found = ResampleVolumed("image", [4.0, 4.0, -1.0])({"image": volume})["image"]
    assert found.shape == (1, 6, 6, 5)
    torch.testing.assert_close(found.affine.diag(), torch.tensor([4.0, 4.0, 4.0, 1.0]), check_dtype=False)


def test_more_voxels_than_memory_holds(volume, monkeypatch):
    monkeypatch.setattr(resample, "available_memory", lambda: 10**6)
    with pytest.raises(
        InputError, match=r"a\.nii: found 0\.0 GB of memory, .* to resample it to voxels of 0\.1 x 0\.1 mm"
    ):
        ResampleVolumed("image", [0.1, 0.1, -1.0])({"image": volume})
    ResampleVolumed("image", [1.0, 1.0, -1.0])({"image": volume})
