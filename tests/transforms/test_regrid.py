# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.ndimage import map_coordinates

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.scans.meta import REGION
from monai_iscs.transforms import RegridResultd, regrid

COARSE = Grid.centered((9, 8, 7), (4.0, 4.0, 2.0))


def smooth(shape=COARSE.shape) -> torch.Tensor:
    return torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))


def test_cubic_splines_between_voxels():
    """SciPy's splines, away from the ends, where they continue the volume otherwise."""
    fine = Grid.centered((9, 8, 10), (1.7, 1.3, 0.5))
    ours = regrid(smooth((30, 30, 30)), Grid.centered((30, 30, 30), (4.0, 4.0, 2.0)), fine)[0]
    index = np.stack(np.meshgrid(*(np.arange(n) for n in fine.shape), indexing="ij"), -1)
    points = index @ np.diag(fine.spacing) + np.asarray(fine.affine)[:3, 3]
    place = (points + np.array([58, 58, 29])) / [4, 4, 2]
    theirs = map_coordinates(smooth((30, 30, 30))[0].double().numpy(), np.moveaxis(place, -1, 0), order=3)
    np.testing.assert_allclose(ours.numpy(), theirs, atol=2e-5)


def test_a_cubic_stays_itself():
    x = torch.linspace(-1, 1, 9, dtype=torch.float64)
    volume = (x**3 - x**2)[None, :, None, None].expand(1, 9, 2, 1).contiguous()
    fine = Grid.centered((33, 2, 1), (0.25, 1.0, 1.0))
    there = torch.linspace(-1, 1, 33, dtype=torch.float64)
    result = regrid(volume, Grid.centered((9, 2, 1), (1.0, 1.0, 1.0)), fine)
    torch.testing.assert_close(result[0, :, 0, 0], there**3 - there**2)


def test_the_same_grid_gives_the_same_tensor_and_backwards_axes_are_followed():
    volume = smooth()
    assert regrid(volume, COARSE, COARSE) is volume
    affine = np.asarray(COARSE.affine) @ np.array([[-1, 0, 0, 8], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    torch.testing.assert_close(regrid(volume, COARSE, Grid(COARSE.shape, affine)), volume.flip(1), atol=1e-6, rtol=0)


def test_outside_the_border_goes_on():
    volume = smooth()
    wide = regrid(volume, COARSE, Grid.centered((9, 8, 9), (4.0, 4.0, 2.0)))
    torch.testing.assert_close(wide[..., 0], volume[..., 0], atol=1e-6, rtol=0)


def test_turned_axes_are_refused():
    turned = np.asarray(COARSE.affine)[:, [1, 0, 2, 3]]
    with pytest.raises(InputError, match="target: found axes"):
        regrid(smooth(), COARSE, Grid((8, 9, 7), turned))


def test_the_wanted_region_is_cut_out_in_its_place():
    result = MetaTensor(smooth(), affine=torch.tensor(COARSE.affine, dtype=torch.float64))
    image = MetaTensor(torch.zeros(1), meta={REGION: "[[1, 9], [0, 8], [2, 5]]"})
    shown = RegridResultd("pred")({"pred": result, "image": image})["pred"]
    assert torch.equal(shown.as_tensor(), result.as_tensor()[:, 1:, :, 2:5])
    np.testing.assert_allclose(shown.affine[:3, 3], np.asarray(COARSE.affine)[:3, 3] + [4, 0, 4])
