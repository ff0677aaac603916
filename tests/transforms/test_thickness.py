# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from monai_iscs.errors import InputError
from monai_iscs.transforms import ThickenSlices


@pytest.fixture
def volume():
    affine = torch.diag(torch.tensor([2.0, 2.0, 1.0, 1.0], dtype=torch.float64))
    affine[:3, 3] = torch.tensor([5.0, -3.0, 10.0])
    values = torch.arange(8.0).expand(1, 2, 2, 8).contiguous()
    return MetaTensor(values, affine=affine, meta={"filename_or_obj": "thin.nii.gz"})


def test_thick_slices_are_means_and_stay_where_they_are(volume):
    thick = ThickenSlices(3.0)(volume)
    assert thick[0, 0, 0].tolist() == [1.0, 4.0]  # the last two thin slices do not fill a third
    first_centre = thick.affine @ torch.tensor([0, 0, 0, 1.0], dtype=torch.float64)
    assert first_centre[:3].tolist() == [5.0, -3.0, 11.0]
    assert thick.affine[2, 2] == 3.0


def test_a_shared_slice_counts_for_its_share(volume):
    thick = ThickenSlices(2.5)(volume)
    torch.testing.assert_close(thick[0, 0, 0].as_tensor(), torch.tensor([0.8, 3.2, 5.8]))


def test_the_same_thickness_changes_nothing(volume):
    torch.testing.assert_close(ThickenSlices(1.0)(volume).as_tensor(), volume.as_tensor())


def test_thinner_slices_cannot_be_had(volume):
    with pytest.raises(InputError, match=r"thin.nii.gz: found slices of 1 mm, expected at most 0.5 mm"):
        ThickenSlices(0.5)(volume)
    with pytest.raises(InputError, match="found 8 slices of 1 mm, expected enough for one of 20 mm"):
        ThickenSlices(20.0)(volume)
    with pytest.raises(InputError, match="thickness: found 0 mm"):
        ThickenSlices(0)
