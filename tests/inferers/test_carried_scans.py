# SPDX-License-Identifier: Apache-2.0
"""Measurements that carry their scan: the inferer needs no operator, and the volume gets the scan's grid."""

from __future__ import annotations

import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.inferers import SliceDiffusionInferer, measurement_of
from monai_iscs.operators import SliceAveraging
from monai_iscs.sampling import Geometric, Recipe, Zeros
from monai_iscs.scans import ConeBeamScan, ThickSliceScan
from monai_iscs.transforms import SimulateMeasurement, SimulateMeasurementd, TakeAsMeasured

SHAPE = (10, 12, 8)
RECIPE = Recipe(start=Zeros(), sigmas=Geometric(3, 1.0, 0.05))


def prior(x, sigma):
    return 0.3 + 0.01 / (0.01 + sigma**2) * (x - 0.3)


def inferer(**settings):
    return SliceDiffusionInferer(RECIPE, progress=False, **settings)


def volume(spacing=20.0, name="scans/a.nii", seed=0):
    affine = torch.diag(torch.tensor([spacing, spacing, spacing, 1.0], dtype=torch.float64))
    affine[:3, 3] = torch.tensor([-30.0, 12.0, 400.0])
    data = 0.3 + 0.1 * torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(seed))
    return MetaTensor(data, affine=affine, meta={"filename_or_obj": name})


@pytest.mark.parametrize("scan", [ThickSliceScan(factor=2), ConeBeamScan(views=6)])
def test_a_measurement_s_own_scan_is_used(scan):
    image = volume()
    y = SimulateMeasurement(scan)(image)
    found = inferer()(y[None], prior)
    operator = scan.operator(Grid(SHAPE, image.affine))
    expected = inferer()(y[None], prior, operator)
    torch.testing.assert_close(found.as_tensor(), expected.as_tensor())
    torch.testing.assert_close(found.affine, image.affine)
    assert found.meta["filename_or_obj"] == "scans/a.nii"


def test_a_given_scan_overrides_the_carried_one():
    y = SimulateMeasurement(ThickSliceScan(factor=2))(volume())
    twice = 2.0 * SliceAveraging(SHAPE, factor=2)
    found = inferer(scan=twice)(y[None], prior)
    assert float((twice(found.as_tensor()) - y.as_tensor()[None]).norm() / y.norm()) < 0.01


def test_thick_slices_of_a_scanner_become_thin_ones():
    affine = torch.diag(torch.tensor([1.0, 1.0, 4.0, 1.0], dtype=torch.float64))
    y = TakeAsMeasured(ThickSliceScan(spacing=1.0))(MetaTensor(torch.rand(1, 6, 6, 3), affine=affine))
    found = inferer()(y[None], prior)
    assert found.shape == (1, 1, 6, 6, 12)
    # the first thin slice is one and a half of them before the first thick one's centre
    torch.testing.assert_close(found.affine @ torch.tensor([0.0, 0, 1.5, 1]).double(), affine[:, 3])
    assert [float(found.affine[axis, axis]) for axis in range(3)] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("scan", [ThickSliceScan(factor=2), ConeBeamScan(views=6)])
@pytest.mark.parametrize("workers", [0, 2])
def test_each_volume_of_a_loaded_batch_has_its_own_scan(scan, workers):
    """With different voxels, and so different geometries: each is reconstructed as if alone, on its own grid."""
    items = [{"image": volume(20.0, "a.nii", 1)}, {"image": volume(25.0, "b.nii", 2)}]
    measure = SimulateMeasurementd("image", scan, measurement_key="y")
    batch = next(iter(DataLoader(Dataset(items, measure), batch_size=2, num_workers=workers)))["y"]
    found = decollate_batch(inferer()(batch, prior))
    assert [float(one.affine[0, 0]) for one in found] == [20.0, 25.0]
    assert [one.meta["filename_or_obj"] for one in found] == ["a.nii", "b.nii"]
    for item, one in zip(items, found, strict=True):
        alone = inferer()(measure(item)["y"][None], prior)
        assert torch.equal(alone.as_tensor()[0], one.as_tensor())


def test_a_carried_noise_level_is_heard():
    """A user's noise level reaches the consistency step with the measurement."""
    y = SimulateMeasurement(ThickSliceScan(factor=2), noise_level=0.25)(volume())
    assert measurement_of(y, None).noise_level == 0.25
    near, far = (
        SliceDiffusionInferer(RECIPE.changed(to_the_noise=told), progress=False)(y[None], prior).as_tensor()
        for told in (False, True)
    )
    operator = SliceAveraging(SHAPE, factor=2)
    missed = [float((operator(x) - y.as_tensor()).square().mean().sqrt()) for x in (near, far)]
    assert missed[0] < 0.01
    assert missed[1] > 5 * missed[0]


def test_an_image_is_no_measurement():
    with pytest.raises(InputError, match="scan: found none, expected an operator, or a measurement that carries"):
        inferer()(volume()[None], prior)
