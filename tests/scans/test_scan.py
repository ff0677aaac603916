# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, LinearOperator, SliceAveraging
from monai_iscs.randomness import random_stream
from monai_iscs.scans import ConeBeamScan, GaussianNoise
from monai_iscs.scans.scan import measure

GRID = Grid((40, 30, 12), np.array([[2.0, 0, 0, -31], [0, 2.5, 0, -47], [0, 0, 3.0, 12], [0, 0, 0, 1]]))


def slab(*, spacing: float, slices: int = 8) -> tuple[torch.Tensor, Grid]:
    """Water from edge to edge."""
    return torch.full((1, 16, 16, slices), 0.4), Grid.centered((16, 16, slices), (spacing,) * 3, center=(9, -8, 400))


def test_scans_do_without_monai():
    code = "import sys, monai_iscs.scans, monai_iscs.classical, monai_iscs.solvers; sys.exit('monai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_geometry_follows_the_grid():
    scan = ConeBeamScan(views=5, arc=100)
    assert scan.geometry(GRID) == ConeBeamGeometry.paper(GRID, views=5, arc=100)
    assert scan.operator(GRID).domain_shape == (40, 30, 12)
    assert scan.operator(GRID).range_shape == (5, 80, 80)
    assert scan.measurement_affine(GRID) == GRID.affine


def test_a_line_integral_is_attenuation_times_path():
    """The middle ray of the first view crosses 16 voxels of 10 mm of water, 0.4 prior units: 0.02 /mm."""
    operator = ConeBeamScan(views=2).operator(slab(spacing=10.0)[1])
    assert isinstance(operator, LinearOperator)
    measurement = operator(torch.full((16, 16, 8), 0.4 / 1.04))  # 0 HU
    assert float(measurement[0, 15:17, 15:17].mean()) == pytest.approx(0.02 * 160, rel=2e-3)


def test_simulate():
    scan = ConeBeamScan(views=2)
    volume = torch.rand(2, *GRID.shape, generator=torch.Generator().manual_seed(0))
    measurement = scan.simulate(volume, GRID)
    assert measurement.grid == GRID
    assert torch.equal(measurement.data[1], scan.operator(GRID)(volume[1]))
    seeds = [
        scan.simulate(volume, GRID, noise=GaussianNoise(0.1), generator=random_stream(s, "measurement")) for s in (0, 1)
    ]
    usual = scan.simulate(volume, GRID, noise=GaussianNoise(0.1))
    assert torch.equal(usual.data, seeds[0].data)
    assert not torch.equal(usual.data, seeds[1].data)
    assert not torch.equal(usual.data, measurement.data)


def test_measure_with_an_operator():
    thick = SliceAveraging((4, 4, 6), factor=2)
    measurement = measure(thick, torch.ones(3, 4, 4, 6, dtype=torch.float64))
    assert measurement.data.dtype == torch.float64
    assert measurement.data.shape == (3, 4, 4, 3)
    assert measurement.grid == Grid.centered((4, 4, 6), (1, 1, 1))
    with pytest.raises(InputError, match=r"volume: found shape \(4, 4, 6\), expected \(C, X, Y, Z\)"):
        measure(thick, torch.ones(4, 4, 6))


def test_volumes_that_do_not_fit():
    scan = ConeBeamScan(views=2)
    with pytest.raises(InputError, match=r"volume: found shape \(1, 40, 30, 13\), expected \(C, 40, 30, 12\)"):
        scan.simulate(torch.rand(1, 40, 30, 13), GRID)
    with pytest.raises(InputError, match="volume: found complex64"):
        scan.simulate(torch.zeros(1, *GRID.shape, dtype=torch.complex64), GRID)


def test_tissue_outside_the_detector():
    scan = ConeBeamScan(views=4)
    scan.check_field(*slab(spacing=10.0))
    with pytest.raises(InputError, match=r"volume: .*% of .*160 x 160 x 1000 mm.*597 mm wide and 597 mm high"):
        scan.check_field(*slab(spacing=10.0, slices=100))
    with pytest.raises(InputError, match="outside the detector"):
        scan.simulate(*slab(spacing=10.0, slices=100))


def test_air_outside_the_detector_is_fine():
    body, grid = slab(spacing=30.0)  # 480 mm wide, corners 679 mm apart
    with pytest.raises(InputError, match="outside the detector"):
        ConeBeamScan(views=4).check_field(body, grid)
    x, y = torch.meshgrid(torch.arange(16) - 7.5, torch.arange(16) - 7.5, indexing="ij")
    body[:, x**2 + y**2 > 6**2] = 0
    ConeBeamScan(views=4).check_field(body, grid)


def test_what_counts_as_air_follows_the_units():
    """-925 HU in the corners of a 640 mm square."""
    body, grid = slab(spacing=40.0)
    x, y = torch.meshgrid(torch.arange(16) - 7.5, torch.arange(16) - 7.5, indexing="ij")
    body[:, x**2 + y**2 > 6**2] = 75 / 2600
    ConeBeamScan(views=4).check_field(body, grid)
    with pytest.raises(InputError, match="outside the detector"):  # a unit of twice as many HU: -850
        ConeBeamScan(views=4, unit_attenuation=0.104).check_field(body, grid)


@pytest.mark.parametrize(
    "option",
    [
        {"views": 0},
        {"arc": 0.0},
        {"arc": 361.0},
        {"row_spacing": 0.0},
        {"row_spacing": math.inf},
        {"unit_attenuation": 0.0},
    ],
)
def test_bad_arguments(option):
    with pytest.raises(InputError, match=f"{next(iter(option))}: found"):
        ConeBeamScan(**option)


@pytest.mark.parametrize("row_spacing", [1e-3, 1e4])
def test_rows_that_no_detector_has_are_refused(row_spacing):
    _, grid = slab(spacing=5.0)
    expected = rf"row_spacing: found {row_spacing:g} mm, expected \S+ to \S+ mm, for a detector of \d+ columns"
    with pytest.raises(InputError, match=expected):
        ConeBeamScan(views=2, row_spacing=row_spacing).geometry(grid)
