# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ForeignOperator, SliceAveraging
from monai_iscs.scans import ConeBeamScan, Measurement, ThickSliceScan
from monai_iscs.scans.meta import from_meta_tensor, grid_of, naming, to_meta_tensor
from monai_iscs.transforms import SimulateMeasurementd, TakeAsMeasuredd

TURN = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]])


def image(number: int, spacing: float = 8.0) -> MetaTensor:
    """One of several volumes, each at another place and with another rotation."""
    affine = np.eye(4)
    affine[:3, :3] = np.linalg.matrix_power(TURN, number) @ np.diag([8.0, 9.0, spacing + number / 7])
    affine[:3, 3] = [-31.4 * number, 17, 1000 / 3]
    values = torch.rand(1, 10, 12, 6, generator=torch.Generator().manual_seed(number))
    return MetaTensor(values, affine=torch.from_numpy(affine), meta={"filename_or_obj": f"volume{number}.nii.gz"})


TRANSFORMS = {
    "projections": SimulateMeasurementd("image", ConeBeamScan(views=3), photons=1e4, noise_level=0.1),
    "thick slices": SimulateMeasurementd("image", ThickSliceScan(factor=2.5)),
    "measured slices": TakeAsMeasuredd("image", ThickSliceScan(), noise_level=0.0),
}


def same(found: Measurement, expected: Measurement) -> bool:
    assert torch.equal(found.data, expected.data)
    assert found.grid == expected.grid
    assert found.noise_level == expected.noise_level
    assert found.description() == expected.description()
    return True


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS.keys())
def test_batches_of_several_workers_keep_each_volume_s_own_scan(transform):
    items = [{"image": image(number)} for number in range(4)]
    expected = [from_meta_tensor(transform(item)["measurement"]) for item in items]
    for number, item in enumerate(items):
        thin = grid_of(item["image"])
        assert (expected[number].grid == thin) == (transform is not TRANSFORMS["measured slices"])
    loader = DataLoader(Dataset(items, transform), batch_size=2, num_workers=2, multiprocessing_context="fork")
    number = 0
    for batch in loader:
        together = batch["measurement"]
        assert together.shape[0] == 2
        with pytest.raises(InputError, match="found those of a batch of 2 in meta"):
            from_meta_tensor(together)
        for of_batch, of_list in zip(together, decollate_batch(together), strict=True):
            assert same(from_meta_tensor(of_batch), expected[number])
            assert same(from_meta_tensor(of_list), expected[number])
            torch.testing.assert_close(of_list.affine, transform(items[number])["measurement"].affine)
            assert of_list.meta["filename_or_obj"] == f"volume{number}.nii.gz"
            number += 1
    assert number == 4


def test_there_and_back():
    operator = SliceAveraging((4, 4, 6), factor=2)
    measurement = Measurement(torch.rand(1, *operator.range_shape), operator, noise_level=0.5)
    tensor = to_meta_tensor(measurement)
    assert isinstance(tensor, MetaTensor)
    assert isinstance(tensor.meta["scan"], str)
    assert same(from_meta_tensor(tensor), measurement)
    assert type(from_meta_tensor(tensor).data) is torch.Tensor


def test_meta_and_affine_of_an_image():
    operator = SliceAveraging((10, 12, 6), factor=2)
    measurement = Measurement(operator(image(1)), operator, grid_of(image(1)))
    like = image(1)
    like.meta["scan"] = "another's"
    tensor = to_meta_tensor(measurement, like=like)
    torch.testing.assert_close(tensor.affine, image(1).affine)
    assert tensor.meta["filename_or_obj"] == "volume1.nii.gz"
    assert same(from_meta_tensor(tensor), measurement)
    moved = to_meta_tensor(measurement, like=like, affine=np.diag([1.0, 2, 3, 1]))
    torch.testing.assert_close(moved.affine, torch.diag(torch.tensor([1.0, 2, 3, 1]).double()))
    assert like.meta["scan"] == "another's"


def test_an_operator_without_description_is_left_out():
    operator = ForeignOperator((lambda x: x, lambda y: y), domain_shape=(4, 3, 2), range_shape=(4, 3, 2))
    like = MetaTensor(torch.rand(1, 4, 3, 2), meta={"scan": "another's", "filename_or_obj": "a.nii.gz"})
    tensor = to_meta_tensor(Measurement(torch.rand(1, 4, 3, 2), operator), like=like)
    with pytest.raises(InputError, match=r'a\.nii\.gz: found nothing in meta\["scan"\], expected a measurement'):
        from_meta_tensor(tensor)
    with pytest.raises(InputError, match=r'measurement: found nothing in meta\["scan"\]'):
        from_meta_tensor(torch.rand(1, 4, 3, 2))


def test_damaged_meta_names_the_file():
    tensor = MetaTensor(torch.rand(1, 4, 3, 2), meta={"scan": "{}", "filename_or_obj": "a.nii.gz"})
    with pytest.raises(InputError, match=r"a\.nii\.gz: measurement: found '\{\}', expected its description"):
        from_meta_tensor(tensor)


def test_grid_of_an_image():
    assert grid_of(image(2)) == Grid((10, 12, 6), image(2).affine.numpy())
    with pytest.raises(InputError, match="image: found no affine, expected a MetaTensor"):
        grid_of(torch.rand(1, 4, 4, 4))
    flat = MetaTensor(torch.rand(1, 4, 4, 4), affine=torch.zeros(4, 4), meta={"filename_or_obj": "flat.nii.gz"})
    with pytest.raises(InputError, match=r"flat\.nii\.gz: affine: found"):
        grid_of(flat)


def test_errors_are_named():
    with pytest.raises(InputError, match=r"^volume3\.nii\.gz: steps: found 0$"), naming(image(3)):
        raise InputError("steps: found 0")
