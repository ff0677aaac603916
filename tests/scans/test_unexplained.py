# SPDX-License-Identifier: Apache-2.0
"""What no volume on the grid explains belongs to the noise level."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector
from monai_iscs.scans import MeasuredScan, Measurement, Projections
from monai_iscs.scans.unexplained import unexplained_level

GRID = Grid.centered((16, 16, 1), (4.0, 4.0, 4.0))
FAN = ConeBeamGeometry.circular(
    views=90, source_to_isocenter=600, source_to_detector=1000, detector_shape=(1, 32), detector_pitch=(5.0, 5.0)
)


def measurement(data, level, **more):
    return Measurement(data, ConeBeamProjector(FAN, GRID), GRID, noise_level=level, **more)


@pytest.fixture(scope="module")
def clean():
    volume = torch.rand(1, *GRID.shape, generator=torch.Generator().manual_seed(0))
    return ConeBeamProjector(FAN, GRID)(volume)


@pytest.fixture(scope="module")
def wrong(clean):
    """A detector whose columns are alternately too bright and too dark, by 1: no volume does that."""
    return clean + torch.tensor([1.0, -1.0]).repeat(16)


def test_an_exact_measurement_is_explained(clean):
    assert unexplained_level(measurement(clean, 0.0)) < 2e-3 * float(clean.square().mean().sqrt())


def test_what_no_volume_explains_is_found(wrong):
    assert unexplained_level(measurement(wrong, 0.0)) == pytest.approx(1, abs=0.1)


def test_noise_is_not_counted_twice(clean):
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    assert unexplained_level(measurement(clean + noise, 1.0)) <= 1.0 + 1e-3


def test_rays_that_do_not_count_are_not_looked_at(wrong):
    """With half of the columns, each error fits: the mean of the rest is a body that is brighter."""
    weights = torch.ones(FAN.projection_shape)
    weights[:, :, ::2] = 0
    broken = wrong.clone()
    broken[..., ::2] = 100.0
    assert unexplained_level(measurement(broken, 0.0, weights=weights)) < 1


def test_an_operator_without_an_exact_adjoint_is_not_fitted(wrong):
    operator = ConeBeamProjector(FAN, GRID)
    unmatched = SimpleNamespace(matched=False, weighted=None)
    fitted = SimpleNamespace(data=wrong, operator=unmatched, volume_shape=(1, *GRID.shape), noise_level=0.0)
    assert operator.matched
    assert unexplained_level(SimpleNamespace(weighted=fitted, weights=None)) == 0


def test_a_scan_that_does_not_fit_has_a_higher_level(wrong):
    scan = MeasuredScan(spacing=4.0, shape=GRID.shape, center=(0, 0, 0), unit_attenuation=1.0)
    placed = scan.place(Projections(data=wrong[0], geometry=FAN))
    assert placed.measurement.noise_level > 0.9
