# SPDX-License-Identifier: Apache-2.0
"""Rows of the detector that are higher than slices: a pixel is the mean of several rays."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector, rays_of_rows
from monai_iscs.scans import ConeBeamScan
from monai_iscs.scans.description import describe_operator, operator_of
from monai_iscs.solvers import conjugate_gradient

GRID = Grid.centered((24, 24, 16), (12.0, 12.0, 1.0))
PAPER = ConeBeamGeometry.paper(GRID, views=5)
CURVED = replace(PAPER, curved_about=PAPER.source)


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("scan", [PAPER, CURVED], ids=["flat", "curved"])
def test_a_pixel_is_the_mean_of_the_rays_of_a_finer_detector(scan, backend):
    rows, columns = scan.detector_shape
    finer = replace(scan, v=scan.v / 4, detector_shape=(4 * rows, columns))
    x = torch.rand(GRID.shape, generator=torch.Generator().manual_seed(0))
    expected = ConeBeamProjector(finer, GRID, backend=backend)(x).unflatten(1, (rows, 4)).mean(2)
    found = ConeBeamProjector(scan, GRID, backend=backend, row_rays=4)(x)
    assert found.shape == scan.projection_shape
    torch.testing.assert_close(found, expected)


def test_a_correction_leaves_no_pattern_of_the_rows():
    """A volume that is alike in all slices, below rows of four: single rays miss slices, and correct the others."""
    grid = Grid.centered((32, 32, 16), (12.0, 12.0, 1.0))
    scan = ConeBeamGeometry.paper(grid, views=8)
    scan = replace(scan, v=scan.v * 4 / float(np.linalg.norm(scan.v[0])) * 1200 / 700)
    assert rays_of_rows(scan, grid) == 4
    x, y, _ = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in grid.shape), indexing="ij")
    truth = ((x / 0.7) ** 2 + (y / 0.5) ** 2 < 1).float()

    def pattern(rays):
        A = ConeBeamProjector(scan, grid, row_rays=rays)
        found = conjugate_gradient(A.normal, A.T(A(truth)), 0.9 * truth, iterations=5)
        return float(found.diff(dim=2)[..., 4:11].abs().mean())

    assert pattern(4) < 0.3 * pattern(1)


def test_scans_take_as_many_rays_as_a_row_covers_slices():
    chest = Grid.centered((256, 256, 24), (1.5, 1.5, 1.0))
    for apart, rays in ((None, 1), (1.4, 1), (2.0, 2), (4.0, 4)):
        _, projector = ConeBeamScan(row_spacing=apart).operator(chest).factored()
        assert projector.row_rays == rays


def test_it_is_kept_with_a_measurement():
    A = ConeBeamProjector(PAPER, GRID, row_rays=2)
    description = json.loads(json.dumps(describe_operator(A)))
    assert operator_of(description, GRID).row_rays == 2
    assert "row_rays" not in describe_operator(ConeBeamProjector(PAPER, GRID))  # files of earlier versions are the same


@pytest.mark.parametrize("rays", [0, -1, 1.5, True, "2"])
def test_a_number_of_rays_that_there_cannot_be(rays):
    with pytest.raises(InputError, match="row_rays: found"):
        ConeBeamProjector(PAPER, GRID, row_rays=rays)
