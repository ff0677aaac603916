# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from monai_iscs.errors import InputError
from monai_iscs.transforms import (
    CheckThickSlices,
    CheckThickSlicesd,
    CheckThickSlicesDict,
    CheckThinSlices,
    CheckThinSlicesd,
    CheckThinSlicesDict,
)


def volume(*spacing: float) -> MetaTensor:
    affine = torch.diag(torch.tensor([*spacing, 1.0]).double())
    return MetaTensor(torch.rand(1, 4, 4, 4), affine=affine, meta={"filename_or_obj": "head.nii.gz"})


@pytest.mark.parametrize("spacing", [(1, 1, 5), (0.45, 0.45, 6.5), (0.868, 0.868, 2), (2, 2, 5)])
def test_thick_slices(spacing):
    thick = volume(*spacing)
    assert CheckThickSlices()(thick) is thick
    assert CheckThickSlicesd("image")({"image": thick})["image"] is thick
    with pytest.raises(
        InputError, match=r"head\.nii\.gz: found voxels of .* mm, too thick to simulate .*without --factor"
    ):
        CheckThinSlices()(thick)


@pytest.mark.parametrize("spacing", [(0.868, 0.868, 1), (1, 1, 1), (0.5, 0.5, 1.1), (0.7, 0.7, 0.7)])
def test_thin_slices(spacing):
    thin = volume(*spacing)
    assert CheckThinSlices()(thin) is thin
    assert CheckThinSlicesd("image")({"image": thin})["image"] is thin
    with pytest.raises(InputError, match=r"head\.nii\.gz: found voxels of .* mm, isotropic already, expected"):
        CheckThickSlices()(thin)


def test_coarse_but_isotropic():
    with pytest.raises(InputError, match="found voxels of 2 x 2 x 2 mm, isotropic already"):
        CheckThickSlices()(volume(2, 2, 2))


@pytest.mark.parametrize(("spacing", "axis"), [((5, 1, 1), "x"), ((1, 3, 1), "y")])
def test_slices_along_another_axis(spacing, axis):
    with pytest.raises(InputError, match=f"stack along {axis}, expected axial slices"):
        CheckThickSlices()(volume(*spacing))


def test_spacing_must_be_positive():
    with pytest.raises(InputError, match="spacing: found 0 mm"):
        CheckThinSlices(0)
    assert CheckThickSlicesDict is CheckThickSlicesd
    assert CheckThinSlicesDict is CheckThinSlicesd
