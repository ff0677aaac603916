# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from monai_iscs.classical import fdk
from monai_iscs.classical.fdk import _backproject, _backproject_torch
from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector
from monai_iscs.operators.backends.rays import RayTable

N = 40
FIELDS = {
    "volume_shape": (N, N, 24),
    "voxel_spacing": (8.0, 8.0, 10.0),
    "source_to_isocenter": 700.0,
    "source_to_detector": 1200.0,
    "detector_shape": (48, 80),
    "detector_pitch": (10.0, 10.0),
}


def scan(**changes) -> ConeBeamGeometry:
    return ConeBeamGeometry.circular(**{"views": 360, **FIELDS, **changes})


def radius(geometry: ConeBeamGeometry) -> torch.Tensor:
    """Of the unit ellipsoid with semi-axes 110, 130, 90 mm around (10, -15, 5)."""
    axes = (torch.from_numpy(geometry.voxel_centers(axis)).float() for axis in range(3))
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    return (((x - 10) / 110) ** 2 + ((y + 15) / 130) ** 2 + ((z - 5) / 90) ** 2).sqrt()


def reconstruct(geometry: ConeBeamGeometry, **options) -> tuple[torch.Tensor, torch.Tensor]:
    r = radius(geometry)
    y = ConeBeamProjector(geometry)((r < 1).float())
    return fdk(y[None, None], geometry, **options)[0, 0], r


@pytest.mark.parametrize(
    "geometry",
    [
        scan(),
        scan(clockwise=True, first_angle=33.0),
        scan(detector_offset=(25.0, 0.0), volume_offset=(0.0, 10.0, 20.0)),
        scan(detector_shape=(48, 56), detector_offset=(0.0, 120.0)),
        scan(detector_shape=(48, 56), detector_offset=(0.0, -120.0)),
    ],
    ids=["plain", "clockwise", "offset", "half fan", "half fan, other side"],
)
@pytest.mark.parametrize("hann", [None, 1.0, 0.5])
def test_a_uniform_ellipsoid_reconstructs_to_one(geometry, hann):
    image, r = reconstruct(geometry, hann=hann)
    assert image[r < 0.3].mean().item() == pytest.approx(1.0, abs=0.02)
    assert image[(r > 1.4) & (r < 1.6)].mean().item() == pytest.approx(0.0, abs=0.05)


def test_sparse_views_stay_in_scale():
    image, r = reconstruct(scan(views=30))
    assert image[r < 0.3].mean().item() == pytest.approx(1.0, abs=0.05)


def test_scale_follows_the_number_of_views_and_the_arc():
    """The angular step and the redundancy follow the views: 180 + fan and a full circle give the same scale."""
    full, r = reconstruct(scan(views=90))
    part, _ = reconstruct(scan(views=60, arc=240.0))
    assert part[r < 0.5].mean().item() == pytest.approx(full[r < 0.5].mean().item(), abs=0.1)


def test_limited_angle_is_sane():
    """100 degrees see little over half of the directions: the object is there, too faint and never blown up."""
    image, r = reconstruct(scan(views=100, arc=100.0))
    assert 0.4 < image[r < 0.5].mean().item() < 0.8
    truth = (r < 1).float()
    assert (image - truth).norm() < 0.75 * truth.norm()
    assert image.abs().max() < 2


def test_single_view_is_finite():
    image, _ = reconstruct(scan(views=1))
    assert image.isfinite().all()


def test_one_row_and_one_slice():
    geometry = scan(volume_shape=(N, N, 1), detector_shape=(1, 80), voxel_spacing=(8.0, 8.0, 30.0))
    image, r = reconstruct(geometry)
    assert image[r < 0.3].mean().item() == pytest.approx(1.0, abs=0.02)


def test_hann_smooths():
    sharp, r = reconstruct(scan(views=30), hann=None)
    smooth, _ = reconstruct(scan(views=30), hann=0.4)
    assert smooth[r < 0.8].std() < 0.7 * sharp[r < 0.8].std()


@pytest.mark.parametrize("before", [0, 21])
def test_both_backprojections_agree(before):
    geometry = scan(views=9, detector_offset=(13.0, -31.0), volume_offset=(5.0, -8.0, 11.0))
    rays, y = RayTable.of(geometry), torch.rand(9, 48, 80 + before)
    one, other = _backproject(y, rays, before), _backproject_torch(y, rays, before)
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_layout_and_type():
    geometry = scan(views=4)
    y = torch.rand(2, 3, *geometry.projection_shape, dtype=torch.float64)
    x = fdk(y, geometry)
    assert x.shape == (2, 3, *geometry.volume_shape)
    assert x.dtype == torch.float64
    torch.testing.assert_close(x[1, 2], fdk(y[1, 2], geometry))


def test_bad_input():
    geometry = scan(views=4)
    with pytest.raises(InputError, match=r"measurement whose shape doesn't fit.*\(5, 48, 80\).*\(4, 48, 80\)"):
        fdk(torch.rand(5, 48, 80), geometry)
    for hann in (0.0, -1.0, 1.5):
        with pytest.raises(InputError, match=f"hann is {hann}"):
            fdk(torch.rand(geometry.projection_shape), geometry, hann=hann)
    with pytest.raises(InputError, match="no column sees the rotation axis"):
        fdk(torch.rand(geometry.projection_shape), replace(geometry, detector_offset=(0.0, 401.0)))
