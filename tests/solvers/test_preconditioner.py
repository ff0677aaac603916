# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch

from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector, SliceAveraging
from monai_iscs.solvers import Preconditioner, conjugate_gradient


def scanner(shape=(24, 24, 6), views=12) -> ConeBeamProjector:
    grid = Grid.centered(shape, (20.0, 20.0, 20.0))
    return ConeBeamProjector(ConeBeamGeometry.paper(grid, views=views), grid)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("ramp", [0.0, 0.4])
def test_it_is_symmetric_and_positive_along_any_stack(axis, ramp):
    A = scanner((5, 4, 3))
    A.resolution = (2.3, 2.3, 2.3)
    M = Preconditioner(A, axis, across=0.6, in_plane=0.4, ramp=ramp)
    size = math.prod(A.domain_shape)
    matrix = M(torch.eye(size, dtype=torch.float64).reshape(size, *A.domain_shape)).reshape(size, size)
    torch.testing.assert_close(matrix, matrix.T)
    assert torch.linalg.eigvalsh(matrix).min() > -1e-12


def test_iterations_with_the_ramp_filter_come_closer():
    A = scanner(views=24)
    x, y, z = torch.meshgrid(*(torch.arange(float(size)) for size in A.domain_shape), indexing="ij")
    truth = ((x - 12) ** 2 + (y - 11) ** 2 < 64).float() + 0.5 * ((x - 9) ** 2 + (y - 14) ** 2 < 5) * (z > 2)
    right_side = A.T(A(truth))

    def error(ramp, iterations):
        M = Preconditioner(A, 2, across=0.0, in_plane=0.0, ramp=ramp)
        found = conjugate_gradient(A.normal, right_side, iterations=iterations, preconditioner=M if M.exists else None)
        return float((found - truth).norm() / truth.norm())

    assert error(0.3, 8) < 0.7 * error(0.0, 8)


def test_it_changes_nothing_for_scanners_without_an_orbit():
    A = SliceAveraging((4, 4, 6), factor=3, axis=2)
    assert not Preconditioner(A, 0, across=0.0, in_plane=0.0, ramp=0.3).exists
    assert Preconditioner(scanner(), 2, across=0.0, in_plane=0.0, ramp=0.3).exists
