# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from monai_iscs.classical import fdk
from monai_iscs.classical.fdk import _backproject, _backproject_torch
from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector, SliceAveraging
from monai_iscs.operators.backends.rays import RayTable
from monai_iscs.scans import Measurement

N = 40
SCANNER = {
    "source_to_isocenter": 700.0,
    "source_to_detector": 1200.0,
    "detector_shape": (48, 80),
    "detector_pitch": (10.0, 10.0),
}


def scan(*, shape=(N, N, 24), spacing=(8.0, 8.0, 10.0), center=(0.0, 0.0, 0.0), **changes) -> ConeBeamProjector:
    geometry = ConeBeamGeometry.circular(**{"views": 360, **SCANNER, **changes})
    return ConeBeamProjector(geometry, Grid.centered(shape, spacing, center=center))


def radius(grid: Grid) -> torch.Tensor:
    """Of the unit ellipsoid with semi-axes 110, 130, 90 mm around (10, -15, 5)."""
    axes = (
        torch.arange(n) * step + row[3] for n, step, row in zip(grid.shape, grid.spacing, grid.affine, strict=False)
    )
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    return (((x - 10) / 110) ** 2 + ((y + 15) / 130) ** 2 + ((z - 5) / 90) ** 2).sqrt()


def reconstruct(A: ConeBeamProjector, **options) -> tuple[torch.Tensor, torch.Tensor]:
    r = radius(A.grid)
    y = A((r < 1).float())
    return fdk(Measurement(y[None], A), **options)[0], r


@pytest.mark.parametrize(
    "A",
    [
        scan(),
        scan(clockwise=True, first_angle=33.0),
        scan(detector_offset=(25.0, 0.0), center=(0.0, 10.0, 20.0)),
        scan(detector_shape=(48, 56), detector_offset=(0.0, 120.0)),
        scan(detector_shape=(48, 56), detector_offset=(0.0, -120.0)),
    ],
    ids=["plain", "clockwise", "offset", "half fan", "half fan, other side"],
)
@pytest.mark.parametrize("hann", [None, 1.0, 0.5])
def test_a_uniform_ellipsoid_reconstructs_to_one(A, hann):
    image, r = reconstruct(A, hann=hann)
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
    """100 degrees cover little more than half of the directions: the object is too faint, but never too bright."""
    image, r = reconstruct(scan(views=100, arc=100.0))
    assert 0.4 < image[r < 0.5].mean().item() < 0.8
    truth = (r < 1).float()
    assert (image - truth).norm() < 0.75 * truth.norm()
    assert image.abs().max() < 2


def test_single_view_is_finite():
    image, _ = reconstruct(scan(views=1))
    assert image.isfinite().all()


def test_one_row_and_one_slice():
    A = scan(shape=(N, N, 1), detector_shape=(1, 80), spacing=(8.0, 8.0, 30.0))
    image, r = reconstruct(A)
    assert image[r < 0.3].mean().item() == pytest.approx(1.0, abs=0.02)


def test_hann_smooths():
    sharp, r = reconstruct(scan(views=30), hann=None)
    smooth, _ = reconstruct(scan(views=30), hann=0.4)
    assert smooth[r < 0.8].std() < 0.7 * sharp[r < 0.8].std()


@pytest.mark.parametrize("before", [0, 21])
def test_both_backprojections_agree(before):
    A = scan(views=9, detector_offset=(13.0, -31.0), center=(5.0, -8.0, 11.0))
    rays, y = RayTable.of(A.geometry, A.grid), torch.rand(9, 48, 80 + before)
    one, other = _backproject(y, rays, before, 3), _backproject_torch(y, rays, before, 3)
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_layout_and_type():
    A = scan(views=4)
    y = torch.rand(3, *A.range_shape, dtype=torch.float64)
    x = fdk(Measurement(y, A))
    assert x.shape == (3, *A.domain_shape)
    assert x.dtype == torch.float64
    torch.testing.assert_close(x[2:], fdk(Measurement(y[2:], A)))


@pytest.mark.parametrize("scale", [2.0, -0.3])
def test_a_multiple_s_volume_is_the_operator_s(scale):
    A = scan(views=4)
    y = torch.rand(1, *A.range_shape)
    torch.testing.assert_close(fdk(Measurement(scale * y, scale * A)), fdk(Measurement(y, A)), rtol=1e-4, atol=1e-5)


def test_a_scan_that_is_moved_or_turned_with_its_volume_gives_the_same():
    """The axis is computed from the sources, for any centre."""
    plain, moved = scan(views=20, detector_shape=(48, 56), detector_offset=(0.0, 120.0)), [-300.0, 70.0, 1500.0]
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    y = plain((radius(plain.grid) < 1).float())[None]
    expected = fdk(Measurement(y, plain))
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(plain.grid.spacing)
    affine[:3, 3] = turn @ np.asarray(plain.grid.affine)[:3, 3] + moved
    vectors = {name: getattr(plain.geometry, name) @ turn.T for name in ("source", "detector", "u", "v")}
    vectors = {name: value + moved if name in ("source", "detector") else value for name, value in vectors.items()}
    A = ConeBeamProjector(replace(plain.geometry, **vectors), Grid(plain.grid.shape, affine))
    torch.testing.assert_close(fdk(Measurement(y, A)), expected, rtol=1e-4, atol=1e-5)


def test_bad_input():
    A = scan(views=4)
    y = torch.rand(1, *A.range_shape)
    for hann in (0.0, -1.0, 1.5):
        with pytest.raises(InputError, match=f"hann: found {hann}"):
            fdk(Measurement(y, A), hann=hann)
    with pytest.raises(InputError, match="no column sees the rotation axis"):
        fdk(Measurement(y, scan(views=4, detector_offset=(0.0, 401.0))))
    with pytest.raises(InputError, match="operator: found 0 times ConeBeamProjector, expected another factor"):
        fdk(Measurement(y, 0 * A))
    thick = SliceAveraging((4, 4, 6), factor=2)
    with pytest.raises(
        InputError, match="fdk: found a measurement of SliceAveraging, expected one of ConeBeamProjector"
    ):
        fdk(Measurement(torch.rand(1, 4, 4, 3), 2 * thick))
