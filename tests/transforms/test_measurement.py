# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose

from monai_iscs.errors import InputError
from monai_iscs.operators import ForeignOperator
from monai_iscs.scans import ConeBeamScan, ThickSliceScan, estimate_noise_level
from monai_iscs.scans.meta import from_meta_tensor, grid_of
from monai_iscs.transforms import (
    SimulateMeasurement,
    SimulateMeasurementD,
    SimulateMeasurementd,
    SimulateMeasurementDict,
    TakeAsMeasured,
    TakeAsMeasuredD,
    TakeAsMeasuredd,
    TakeAsMeasuredDict,
)

SCAN = ConeBeamScan(views=3)


def test_without_noise_it_is_the_operator(volume):
    measurement = SimulateMeasurement(SCAN)(volume)
    assert torch.equal(measurement[0].as_tensor(), SCAN.operator(grid_of(volume))(volume[0].as_tensor()))
    assert torch.equal(SimulateMeasurement(SCAN.operator(grid_of(volume)))(volume).as_tensor(), measurement.as_tensor())


def test_meta_tells_the_volume(volume):
    measurement = SimulateMeasurement(SCAN)(volume)
    assert measurement.shape == (1, 3, 80, 80)
    found = from_meta_tensor(measurement)
    assert found.grid == grid_of(volume)
    assert found.operator.domain_shape == (40, 30, 12)
    assert torch.equal(found.operator(volume.as_tensor()), SCAN.operator(grid_of(volume))(volume.as_tensor()))
    torch.testing.assert_close(found.data, measurement.as_tensor())
    assert measurement.meta["filename_or_obj"] == "phantom.nii.gz"
    torch.testing.assert_close(measurement.affine, volume.affine)
    assert measurement.applied_operations == []
    assert "scan" not in volume.meta


def test_the_law_of_photon_noise(volume):
    """Counts are Poisson: the mean count is N0 exp(-p), and so is its variance."""
    photons = 1e4
    clean = SimulateMeasurement(SCAN)(volume).as_tensor()
    noise = [SimulateMeasurement(SCAN, photons=photons, seed=seed)(volume).as_tensor() for seed in range(40)]
    counts = photons * torch.exp(-torch.stack(noise))
    expected = photons * torch.exp(-clean)
    assert torch.allclose(counts, counts.round(), atol=0.1)
    z = (counts.mean(0) - expected) / (expected / 40).sqrt()
    assert abs(float(z.mean())) < 4 / np.sqrt(z.numel())
    assert float(z.var()) == pytest.approx(1, abs=0.03)
    assert float((counts.var(0) / expected).mean()) == pytest.approx(1, abs=0.01)


def test_gaussian_noise(volume):
    clean, noisy = (SimulateMeasurement(SCAN, noise_std=s)(volume).as_tensor() for s in (None, 0.05))
    assert float((noisy - clean).std()) == pytest.approx(0.05, rel=0.03)
    assert abs(float((noisy - clean).mean())) < 0.05 * 4 / np.sqrt(clean.numel())


def test_few_photons_stay_finite(volume):
    measurement = SimulateMeasurement(SCAN, photons=2)(volume + 5)
    assert torch.isfinite(measurement).all()
    assert measurement.max() == pytest.approx(np.log(2))  # a pixel that saw nothing counts as one photon


@pytest.mark.parametrize("noise", [{"photons": 100.0}, {"noise_std": 0.1}, {"photons": 100.0, "noise_std": 0.1}])
def test_the_seed_decides(volume, noise):
    first = SimulateMeasurement(SCAN, seed=3, **noise)
    once = first(volume)
    torch.rand(1)
    assert torch.equal(first(volume), once)
    assert torch.equal(SimulateMeasurement(SCAN, seed=3, **noise)(volume), once)
    assert not torch.equal(SimulateMeasurement(SCAN, seed=4, **noise)(volume), once)


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ({"photons": 0}, "photons: found 0"),
        ({"photons": -5.0}, "photons: found -5"),
        ({"photons": float("nan")}, "photons: found nan"),
        ({"noise_std": -0.1}, "noise_std: found -0.1"),
        ({"noise_level": -0.1}, "noise_level: found -0.1"),
    ],
)
def test_bad_noise(noise, message):
    with pytest.raises(InputError, match=message):
        SimulateMeasurement(SCAN, **noise)


def test_a_volume_that_does_not_fit_the_detector(volume):
    volume.affine = torch.diag(torch.tensor([2.0, 2.0, 90.0, 1.0]).double())
    with pytest.raises(InputError, match=r"phantom\.nii\.gz: .*outside the detector"):
        SimulateMeasurement(SCAN)(volume)


def test_every_channel_is_measured(volume):
    both = SimulateMeasurement(SCAN)(torch.cat([volume, 2 * volume]))
    assert both.shape == (2, 3, 80, 80)
    torch.testing.assert_close(both[1], 2 * both[0])


def test_any_operator_will_do():
    pair = (lambda x: x[::2], lambda y: y.repeat_interleave(2, 0) * torch.tensor([1.0, 0.0] * 2)[:, None, None])
    halve = ForeignOperator(pair, domain_shape=(4, 3, 2), range_shape=(2, 3, 2))
    image = torch.rand(1, 4, 3, 2)
    assert torch.equal(SimulateMeasurement(halve)(image).as_tensor(), image[:, ::2])


def test_dictionary_and_config(volume):
    chain = Compose([SimulateMeasurementd("image", SCAN, photons=1e3, seed=1)])
    data = chain({"image": volume})
    assert data["image"] is volume
    assert torch.equal(data["measurement"], SimulateMeasurement(SCAN, photons=1e3, seed=1)(volume))
    config = {
        "scan": {"_target_": "monai_iscs.scans.ConeBeamScan", "views": 3},
        "measure": {
            "_target_": "monai_iscs.transforms.SimulateMeasurementd",
            "keys": "image",
            "scan": "@scan",
            "photons": 1e3,
            "seed": 1,
        },
    }
    measure = ConfigParser(config).get_parsed_content("measure")
    assert torch.equal(measure({"image": volume})["measurement"], data["measurement"])
    assert SimulateMeasurementD is SimulateMeasurementd
    assert SimulateMeasurementDict is SimulateMeasurementd


def test_one_measurement_key_for_each_key():
    with pytest.raises(ValueError, match="measurement_key"):
        SimulateMeasurementd(["a", "b"], SCAN)
    with pytest.raises(ValueError, match="measurement_key"):
        TakeAsMeasuredd(["a", "b"], ThickSliceScan())


def test_a_volume_without_affine(volume):
    with pytest.raises(InputError, match="image: found no affine"):
        SimulateMeasurement(SCAN)(volume.as_tensor())


def test_more_than_the_volume_has(volume):
    with pytest.raises(InputError, match=r"phantom\.nii\.gz: factor: found 13, expected more than 1 and at most 12"):
        SimulateMeasurement(ThickSliceScan(factor=13))(volume)


def test_the_affine_of_thick_slices(volume):
    thick = SimulateMeasurement(ThickSliceScan(factor=4))(volume)
    expected = volume.affine.clone()
    expected[2, 3] += 1.5 * expected[2, 2]
    expected[2, 2] *= 4
    torch.testing.assert_close(thick.affine, expected)
    assert from_meta_tensor(thick).grid == grid_of(volume)


def test_the_noise_level_that_is_told(volume):
    noise = {"noise_std": 0.05, "seed": 2}
    told = from_meta_tensor(SimulateMeasurement(SCAN, noise_level=0.25, **noise)(volume))
    assert told.noise_level == 0.25
    unknown = from_meta_tensor(SimulateMeasurement(SCAN, **noise)(volume))
    assert torch.equal(unknown.data, told.data)
    assert unknown.noise_level == estimate_noise_level(unknown.data, unknown.operator)


@pytest.fixture
def slices() -> MetaTensor:
    affine = torch.diag(torch.tensor([-1.0, 1.0, 5.0, 1.0]).double())
    meta = {"filename_or_obj": "thick.nii.gz", "robust_maximum": 7.0}
    return MetaTensor(torch.rand(1, 6, 5, 7), affine=affine, meta=meta)


def test_an_image_as_it_was_measured(slices):
    scan = ThickSliceScan()
    taken = TakeAsMeasured(scan, noise_level=0.125)(slices)
    assert torch.equal(taken.as_tensor(), slices.as_tensor())
    torch.testing.assert_close(taken.affine, slices.affine)
    assert taken.meta["robust_maximum"] == 7.0
    found, expected = from_meta_tensor(taken), scan.measured(slices.as_tensor(), grid_of(slices))
    assert found.grid == expected.grid
    assert found.noise_level == 0.125
    assert torch.equal(found.operator.matrix, expected.operator.matrix)
    assert "scan" not in slices.meta
    data = TakeAsMeasuredd("image", scan, measurement_key="y")({"image": slices})
    assert torch.equal(data["y"], slices)
    assert TakeAsMeasuredD is TakeAsMeasuredd
    assert TakeAsMeasuredDict is TakeAsMeasuredd


def test_an_image_that_can_t_be_taken_so(slices):
    thin = slices.clone()
    thin.affine = torch.eye(4, dtype=torch.float64)
    with pytest.raises(
        InputError, match=r"thick\.nii\.gz: slices: found a distance of 1 mm, expected clearly more than 1"
    ):
        TakeAsMeasured(ThickSliceScan())(thin)
    with pytest.raises(InputError, match="found no affine"):
        TakeAsMeasured(ThickSliceScan())(slices.as_tensor())
    with pytest.raises(InputError, match="noise_level: found -1"):
        TakeAsMeasured(ThickSliceScan(), noise_level=-1)
