# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import GaussianProfile
from monai_iscs.scans import ThickSliceScan

AFFINE = np.array([[0.96, -0.28, 0, -20], [0.28, 0.96, 0, 30], [0, 0, 1, 7.5], [0, 0, 0, 1]])
GRID = Grid((6, 5, 12), AFFINE)


def positions(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """World coordinates of the voxels' centres, (3, X, Y, Z)."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"))
    return np.einsum("ij,jxyz->ixyz", affine[:3, :3], index) + affine[:3, 3, None, None, None]


@pytest.fixture
def head() -> torch.Tensor:
    """An oblique volume of 12 slices whose three channels are the world coordinates of its voxels' centres."""
    return torch.from_numpy(positions(GRID.shape, AFFINE))


@pytest.mark.parametrize("factor", [2, 3, 5, 2.5])
def test_a_thick_slice_lies_at_the_mean_of_its_thin_ones(head, factor):
    """Averaged like a signal, the voxels' coordinates become those of the thick grid."""
    scan = ThickSliceScan(factor=factor)
    measurement = scan.simulate(head, GRID)
    assert measurement.grid == GRID
    thick = scan.thick_grid(GRID)
    assert thick.shape == measurement.data.shape[1:] == (6, 5, -(-12 // factor))
    whole = int(12 // factor)
    affine = np.asarray(scan.measurement_affine(GRID))
    world = positions((6, 5, whole), affine)
    np.testing.assert_allclose(measurement.data.numpy()[..., :whole], world, atol=0.11 if factor % 1 else 1e-9)
    assert np.linalg.norm(affine[:3, 2]) == pytest.approx(factor)
    assert thick.spacing == pytest.approx((1, 1, factor))


def stack(distance: float, count: int) -> tuple[torch.Tensor, Grid]:
    affine = np.diag([-1.0, 1.0, distance, 1.0])
    affine[:3, 3] = [3.0, 4.0, 50.0]
    return torch.rand(1, 6, 5, count), Grid((6, 5, count), affine)


@pytest.mark.parametrize(
    ("distance", "count", "slices"), [(5.0, 7, 35), (4.8, 10, 48), (3.3, 7, 23), (5.00001, 30, 150), (2.5, 4, 10)]
)
def test_thin_slices_tile_measured_ones(distance, count, slices):
    """From the lower face of the first thick slice to the upper face of the last one, without remainder."""
    image, grid = stack(distance, count)
    measurement = ThickSliceScan().measured(image, grid)
    assert torch.equal(measurement.data, image)
    assert measurement.operator.domain_shape == measurement.grid.shape == (6, 5, slices)
    assert measurement.operator.range_shape == (6, 5, count)
    thin = np.asarray(measurement.grid.affine)
    spacing = thin[2, 2]
    assert spacing == pytest.approx(1.0, abs=0.5 / slices + 1e-9)
    assert spacing * slices == pytest.approx(distance * count)
    assert thin[2, 3] - spacing / 2 == pytest.approx(50 - distance / 2)
    np.testing.assert_allclose(thin[:3, :2], np.asarray(grid.affine)[:3, :2])
    np.testing.assert_allclose(thin[:2, 3], np.asarray(grid.affine)[:2, 3])


def test_the_grids_undo_each_other():
    """Thick slices made of thin ones give the same thin grid again."""
    thick = ThickSliceScan(factor=4).thick_grid(GRID)
    measurement = ThickSliceScan().measured(torch.rand(1, *thick.shape), thick)
    assert measurement.grid.shape == GRID.shape
    np.testing.assert_allclose(measurement.grid.affine, GRID.affine, atol=1e-12)


def test_another_spacing_and_profile():
    profile = GaussianProfile(0.8)
    operator = ThickSliceScan(spacing=2.0, profile=profile).measured(*stack(6.0, 5)).operator
    assert operator.domain_shape == (6, 5, 15)
    torch.testing.assert_close(operator.matrix[2, 7] / operator.matrix[2].max(), torch.tensor(1.0).double())
    assert float(operator.matrix[2, 6]) < 0.8 * float(operator.matrix[2, 7])


def test_measured_slices_that_are_thin_already():
    with pytest.raises(InputError, match="slices: found a distance of 1 mm, expected clearly more than 1 mm"):
        ThickSliceScan().measured(*stack(1.0, 8))


def test_measured_slices_of_another_shape():
    image, grid = stack(5.0, 7)
    with pytest.raises(InputError, match=r"slices: found shape \(1, 6, 5, 6\), expected \(C, 6, 5, 7\)"):
        ThickSliceScan().measured(image[..., 1:], grid)


def test_simulated_or_measured():
    with pytest.raises(InputError, match=r"factor: found None \(for measured slices\), expected a number"):
        ThickSliceScan().simulate(torch.rand(1, *GRID.shape), GRID)
    with pytest.raises(InputError, match="factor: found 3, expected None for measured slices"):
        ThickSliceScan(factor=3).measured(*stack(5.0, 7))


def test_more_than_the_volume_has(head):
    with pytest.raises(InputError, match="factor: found 13, expected more than 1 and at most 12"):
        ThickSliceScan(factor=13).simulate(head, GRID)


@pytest.mark.parametrize("option", [{"factor": 1}, {"factor": 0.2}, {"spacing": 0.0}, {"spacing": float("nan")}])
def test_bad_arguments(option):
    with pytest.raises(InputError, match=f"{next(iter(option))}: found"):
        ThickSliceScan(**option)
