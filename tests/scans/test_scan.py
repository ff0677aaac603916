# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor, list_data_collate

from monai_iscs.errors import InputError
from monai_iscs.operators import LinearOperator
from monai_iscs.scans import ConeBeamScan
from monai_iscs.transforms import SimulateMeasurement


def slab(*, spacing: float, slices: int = 8, side: int = 16) -> MetaTensor:
    """Water from edge to edge."""
    affine = torch.diag(torch.tensor([spacing, spacing, spacing, 1.0]).double())
    meta = {"filename_or_obj": "slab.nii.gz"}
    return MetaTensor(torch.full((1, side, side, slices), 0.4), affine=affine, meta=meta)


def test_geometry_follows_the_volume(volume):
    geometry = ConeBeamScan(views=5, arc=100).geometry(volume)
    assert geometry.volume_shape == (40, 30, 12)
    assert geometry.voxel_spacing == pytest.approx((2.0, 2.5, 3.0))
    assert len(geometry.angles) == 5


def test_geometry_from_the_measurement_alone(volume):
    scan = ConeBeamScan(views=4)
    measurement = SimulateMeasurement(scan)(volume)
    assert scan.geometry(measurement) == scan.geometry(volume)
    batch = list_data_collate([measurement, measurement])  # what a DataLoader makes of it
    assert batch.shape == (2, *measurement.shape)
    assert scan.geometry(batch) == scan.geometry(volume)
    assert scan(batch).domain_shape == (40, 30, 12)


def test_a_batch_of_different_volumes(volume):
    scan = ConeBeamScan(views=2)
    one = SimulateMeasurement(scan)(volume)
    other = one.clone()
    other.meta["volume_shape"] = (40, 30, 13)
    with pytest.raises(InputError, match="different shapes"):
        scan.geometry(list_data_collate([one, other]))


def test_a_line_integral_is_attenuation_times_path():
    """The middle ray of the first view crosses 16 voxels of 10 mm of water, 0.4 prior units: 0.02 /mm."""
    operator = ConeBeamScan(views=2)(slab(spacing=10.0))
    assert isinstance(operator, LinearOperator)
    measurement = operator(torch.full((16, 16, 8), 0.4 / 1.04))  # 0 HU
    assert float(measurement[0, 15:17, 15:17].mean()) == pytest.approx(0.02 * 160, rel=2e-3)


def test_tissue_outside_the_detector():
    scan = ConeBeamScan(views=4)
    scan.check_field(slab(spacing=10.0))
    with pytest.raises(InputError, match=r"slab\.nii\.gz: .*% of .*160 x 160 x 1000 mm.*597 mm wide and 597 mm high"):
        scan.check_field(slab(spacing=10.0, slices=100))


def test_air_outside_the_detector_is_fine():
    body = slab(spacing=30.0)  # 480 mm wide, corners 679 mm apart
    with pytest.raises(InputError, match="outside the detector"):
        ConeBeamScan(views=4).check_field(body)
    x, y = torch.meshgrid(torch.arange(16) - 7.5, torch.arange(16) - 7.5, indexing="ij")
    body[:, x**2 + y**2 > 6**2] = 0
    ConeBeamScan(views=4).check_field(body)


def test_what_counts_as_air_follows_the_units():
    """-925 HU in the corners of a 640 mm square."""
    body = slab(spacing=40.0)
    x, y = torch.meshgrid(torch.arange(16) - 7.5, torch.arange(16) - 7.5, indexing="ij")
    body[:, x**2 + y**2 > 6**2] = 75 / 2600
    ConeBeamScan(views=4).check_field(body)
    with pytest.raises(InputError, match="outside the detector"):  # a unit of twice as many HU: -850
        ConeBeamScan(views=4, unit_attenuation=0.104).check_field(body)


def test_no_affine():
    with pytest.raises(InputError, match="has no affine"):
        ConeBeamScan().geometry(torch.zeros(1, 8, 8, 8))


@pytest.mark.parametrize("option", [{"views": 0}, {"arc": 0.0}, {"arc": 361.0}, {"unit_attenuation": 0.0}])
def test_bad_arguments(option):
    with pytest.raises(InputError, match=f"{next(iter(option))}: found"):
        ConeBeamScan(**option)
