# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_iscs.errors import InputError
from monai_iscs.scans import ThickSliceScan
from monai_iscs.scans.meta import from_meta_tensor
from monai_iscs.transforms import (
    ScaleByRobustMaximumd,
    SimulateMeasurementd,
    TakeAsMeasured,
    mr_postprocessing,
    mr_preprocessing,
    thick_slice_postprocessing,
    thick_slice_preprocessing,
)


@pytest.fixture
def head() -> np.ndarray:
    """A smooth skull-stripped "brain" of arbitrary signal in 40 x 50 x 23 voxels, nothing symmetric."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (40, 50, 23)), indexing="ij")
    inside = ((x - 0.1) / 0.5) ** 2 + ((y + 0.1) / 0.6) ** 2 + (z / 0.8) ** 2 < 1
    return np.where(inside, 900 + 250 * np.sin(3 * x + 2 * z) + 100 * y, 0).astype(np.float32)


@pytest.fixture
def oblique() -> np.ndarray:
    """Left, anterior, superior; turned by 10 degrees; 0.9 x 0.9 x 1 mm."""
    a = np.radians(10)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-0.9, 0.9, 1.0])
    affine[:3, 3] = [30, -20, 5]
    return affine


def simulate(path, *, scan, poison=lambda label: label) -> dict:
    """The preprocessing of the bundle's config for a thin scan."""
    data = mr_preprocessing("label")({"label": path})
    data = SimulateMeasurementd("label", scan, measurement_key="image")(data)
    data["label"] = poison(data["label"])
    return ScaleByRobustMaximumd(["image", "label"], by="image")(data)


def test_a_thin_scan_becomes_isotropic_and_loses_its_air(head, oblique, save):
    volume = mr_preprocessing()({"image": save(head, affine=oblique)})["image"]
    assert volume.dtype == torch.float32
    np.testing.assert_allclose(volume.affine[:3, :3].norm(dim=0), 1, atol=1e-9)
    assert float(volume.affine[0, 0]) > 0
    assert volume.shape[3] == 23
    assert 20 * 0.9 < volume.shape[1] < 32 * 0.9
    assert float(volume.max()) == pytest.approx(head.max(), rel=0.05)


def test_back_on_the_file_s_grid(head, oblique, save):
    path = save(head, affine=oblique)
    preprocessing = mr_preprocessing("label")
    data = preprocessing({"label": path})
    data = SimulateMeasurementd("label", ThickSliceScan(factor=5), measurement_key="image")(data)
    data = ScaleByRobustMaximumd(["image", "label"], by="image")(data)
    data["pred"] = MetaTensor(data["label"].as_tensor())
    back = mr_postprocessing(transform=preprocessing, orig_keys="label")(data)["pred"]
    assert back.shape == (1, *head.shape)
    assert back.dtype == torch.float32
    np.testing.assert_allclose(back.affine, oblique, atol=1e-9)
    error = np.abs(back[0].numpy() - head)
    assert np.median(error[head > 0]) < 5
    assert np.median(error[head == 0]) == 0


def test_the_scale_comes_from_the_measurement_alone(head, save):
    """After it is made, no change of the reference affects it."""
    path, scan = save(head, affine=np.eye(4)), ThickSliceScan(factor=5)
    plain, poisoned = (simulate(path, scan=scan, poison=p) for p in (lambda x: x, lambda x: 50 * x.flip(2) + 9))
    assert torch.equal(plain["image"].as_tensor(), poisoned["image"].as_tensor())
    assert plain["image"].meta["robust_maximum"] == poisoned["image"].meta["robust_maximum"]
    assert poisoned["label"].meta["robust_maximum"] == plain["image"].meta["robust_maximum"]
    operator = from_meta_tensor(plain["image"]).operator
    torch.testing.assert_close(operator(plain["label"].as_tensor()), plain["image"].as_tensor())


@pytest.fixture
def thick(head, oblique, save):
    """The head in six thick slices, the last one thinner than the file says, as scanners don't know the head's end."""
    affine = oblique @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 4, 1.5], [0, 0, 0, 1]])
    slices = np.concatenate([head, np.zeros((40, 50, 1), np.float32)], 2).reshape(40, 50, 6, 4).mean(-1)
    return slices, affine, save(slices, "thick.nii.gz", affine=affine)


def test_measured_slices_stay_as_they_are(thick):
    slices, _, path = thick
    volume = thick_slice_preprocessing()({"image": path})["image"]
    assert volume.shape[3] == 6
    np.testing.assert_allclose(volume.affine[:3, :3].norm(dim=0), [1, 1, 4], atol=1e-9)
    assert volume.shape[1] < 36
    middle = volume[0, :, :, 3].numpy()
    assert np.median(middle[middle > 500]) == pytest.approx(np.median(slices[..., 3][slices[..., 3] > 500]), rel=0.01)


def _centre_of_mass(values: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Of the signal, in the world."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in values.shape), indexing="ij"))
    return affine[:3, :3] @ ((index * values).reshape(3, -1).sum(1) / values.sum()) + affine[:3, 3]


def test_measured_slices_become_isotropic_on_the_whole_field(thick):
    slices, affine, path = thick
    preprocessing = thick_slice_preprocessing()
    image = ScaleByRobustMaximumd("image", by="image")(preprocessing({"image": path}))["image"]
    image = TakeAsMeasured(ThickSliceScan())(image)
    measurement = from_meta_tensor(image)
    pred = MetaTensor(measurement.operator.pseudo_inverse(measurement.data)).copy_meta_from(image)
    pred.affine = torch.tensor(measurement.grid.affine)
    back = thick_slice_postprocessing(transform=preprocessing)({"pred": pred})["pred"]
    assert back.shape == (1, 36, 45, 24)
    np.testing.assert_allclose(back.affine[:3, :3].norm(dim=0), 1, atol=1e-9)
    np.testing.assert_allclose(
        _centre_of_mass(back[0].numpy(), back.affine.numpy()), _centre_of_mass(slices, affine), atol=0.1
    )
    assert float(back.max()) == pytest.approx(slices.max(), rel=0.05)


def test_another_head_of_the_same_file_shape_is_cropped_by_the_first(head, save):
    paths = {"label": save(head, "a.nii.gz"), "pred": save(head[::-1].copy(), "b.nii.gz")}
    data = mr_preprocessing(["label", "pred"], spacing=2.5)(paths)
    assert data["label"].shape == data["pred"].shape
    torch.testing.assert_close(data["label"].affine, data["pred"].affine)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda v: v - 1000, "expected MR magnitudes .*a CT in HU"),
        (lambda v: (v - v.mean()) / v.std(), "clearly negative, expected MR magnitudes"),
        (lambda v: -v - 1, "clearly negative, expected MR magnitudes"),
        (lambda v: v * 0 + 7, "found 7 in every voxel, expected an MR volume"),
        (lambda v: np.where(v > 1000, np.nan, v), "NaN or infinite voxels, expected finite signal"),
        (lambda v: v[:, :, 3], "expected one 3D volume"),
    ],
)
@pytest.mark.parametrize("chain", [mr_preprocessing, thick_slice_preprocessing])
def test_what_is_not_an_mr_volume(head, save, chain, make, message):
    with pytest.raises(InputError, match=rf"bad\.nii\.gz: .*{message}"):
        chain()({"image": save(make(head).astype(np.float32), "bad.nii.gz", affine=np.diag([1, 1, 5.0, 1]))})


def test_a_little_undershoot_of_an_interpolation_passes(head, save):
    head[0, 0, :5] = -40
    mr_preprocessing()({"image": save(head, affine=np.eye(4))})


def test_thick_slices_for_a_simulation_and_thin_ones_as_measured(thick, head, save):
    with pytest.raises(InputError, match=r"thick\.nii\.gz: .*too thick to simulate"):
        mr_preprocessing()({"image": thick[2]})
    with pytest.raises(InputError, match=r"thin\.nii\.gz: .*isotropic already"):
        thick_slice_preprocessing()({"image": save(head, "thin.nii.gz", affine=np.eye(4))})


@pytest.mark.parametrize("chain", [mr_preprocessing, thick_slice_preprocessing])
def test_bad_spacing(chain):
    with pytest.raises(InputError, match="spacing: found 0 mm"):
        chain(spacing=0)
