# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor, list_data_collate

from monai_iscs.errors import InputError
from monai_iscs.operators import GaussianProfile
from monai_iscs.scans import ThickSliceScan
from monai_iscs.transforms import SimulateMeasurement


@pytest.fixture
def head() -> MetaTensor:
    """An oblique volume of 12 slices whose three channels are the world coordinates of its voxels' centres."""
    turn = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn, [-20, 30, 7.5]
    index = np.stack(np.meshgrid(*(np.arange(n) for n in (6, 5, 12)), indexing="ij"))
    world = np.einsum("ij,jxyz->ixyz", affine[:3, :3], index) + affine[:3, 3, None, None, None]
    meta = {"filename_or_obj": "head.nii.gz"}
    return MetaTensor(torch.from_numpy(world), affine=torch.from_numpy(affine), meta=meta)


@pytest.mark.parametrize("factor", [2, 3, 5, 2.5])
def test_a_thick_slice_lies_at_the_mean_of_its_thin_ones(head, factor):
    """Averaged like a signal, the voxels' coordinates become those that the measurement's affine gives."""
    measurement = SimulateMeasurement(ThickSliceScan(factor=factor))(head)
    whole = int(12 // factor)
    index = np.stack(np.meshgrid(np.arange(6), np.arange(5), np.arange(whole), indexing="ij"))
    affine = measurement.affine.numpy()
    world = np.einsum("ij,jxyz->ixyz", affine[:3, :3], index) + affine[:3, 3, None, None, None]
    np.testing.assert_allclose(measurement.numpy()[..., :whole], world, atol=0.11 if factor % 1 else 1e-9)
    assert np.linalg.norm(affine[:3, 2]) == pytest.approx(factor)


def test_the_volume_s_grid_from_the_measurement_alone(head):
    scan = ThickSliceScan(factor=5)
    measurement = SimulateMeasurement(scan)(head)
    assert measurement.shape == (3, 6, 5, 3)
    assert scan(measurement).domain_shape == (6, 5, 12)
    torch.testing.assert_close(scan.volume_affine(measurement), head.affine)
    batch = list_data_collate([measurement, measurement])
    assert scan(batch).domain_shape == (6, 5, 12)
    torch.testing.assert_close(scan.volume_affine(batch), head.affine)


def measured(distance: float, count: int) -> MetaTensor:
    affine = torch.diag(torch.tensor([-1.0, 1.0, distance, 1.0]).double())
    affine[:3, 3] = torch.tensor([3.0, 4.0, 50.0])
    return MetaTensor(torch.rand(1, 6, 5, count), affine=affine, meta={"filename_or_obj": "thick.nii.gz"})


@pytest.mark.parametrize(
    ("distance", "count", "slices"), [(5.0, 7, 35), (4.8, 10, 48), (3.3, 7, 23), (5.00001, 30, 150), (2.5, 4, 10)]
)
def test_thin_slices_tile_measured_ones(distance, count, slices):
    """From the lower face of the first thick slice to the upper face of the last one, without remainder."""
    image = measured(distance, count)
    scan = ThickSliceScan()
    operator = scan(image)
    assert operator.domain_shape == (6, 5, slices)
    assert operator.range_shape == (6, 5, count)
    thin = scan.volume_affine(image)
    spacing = float(thin[2, 2])
    assert spacing == pytest.approx(1.0, abs=0.5 / slices + 1e-9)
    assert spacing * slices == pytest.approx(distance * count)
    assert float(thin[2, 3]) - spacing / 2 == pytest.approx(50 - distance / 2)
    torch.testing.assert_close(thin[:3, :2], image.affine[:3, :2])
    torch.testing.assert_close(thin[:2, 3], image.affine[:2, 3])


def test_another_spacing_and_profile():
    profile = GaussianProfile(0.8)
    operator = ThickSliceScan(spacing=2.0, profile=profile)(measured(6.0, 5))
    assert operator.domain_shape == (6, 5, 15)
    torch.testing.assert_close(operator.matrix[2, 7] / operator.matrix[2].max(), torch.tensor(1.0).double())
    assert float(operator.matrix[2, 6]) < 0.8 * float(operator.matrix[2, 7])


def test_measured_slices_that_are_thin_already():
    with pytest.raises(InputError, match=r"thick\.nii\.gz: its slices are 1 mm apart, expected clearly more than 1 mm"):
        ThickSliceScan()(measured(1.0, 8))


def test_measured_slices_need_an_affine():
    with pytest.raises(InputError, match="has no affine"):
        ThickSliceScan()(torch.rand(1, 4, 4, 4))


def test_more_than_the_volume_has(head):
    with pytest.raises(InputError, match="factor is 13, expected more than 1 and at most 12"):
        SimulateMeasurement(ThickSliceScan(factor=13))(head)


@pytest.mark.parametrize("option", [{"factor": 1}, {"factor": 0.2}, {"spacing": 0.0}, {"spacing": float("nan")}])
def test_bad_arguments(option):
    with pytest.raises(InputError, match=f"{next(iter(option))}: found"):
        ThickSliceScan(**option)
