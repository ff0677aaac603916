# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid

TURN = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])


def turned() -> Grid:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = TURN @ np.diag([2.0, 3.0, 4.0]), [-10, 20, 1 / 3]
    return Grid((5, 6, 7), affine)


def test_centered():
    grid = Grid.centered((4, 5, 6), (2, 3, 4.5), center=(10, -20, 30))
    assert grid.center == pytest.approx((10, -20, 30))
    assert grid.spacing == (2, 3, 4.5)
    assert np.asarray(grid.affine)[:3, 3].tolist() == [10 - 3, -20 - 6, 30 - 11.25]
    assert grid.upright


def test_any_array_is_taken_and_equal_grids_are_equal():
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    grids = [Grid((2, 3, 4), given) for given in (affine, affine.tolist(), torch.from_numpy(affine))]
    assert len(set(grids)) == 1
    assert Grid(**json.loads(json.dumps(asdict(turned())))) == turned()


def test_axes():
    grid = turned()
    np.testing.assert_allclose(grid.axes, TURN)
    assert grid.spacing == pytest.approx((2, 3, 4))
    assert not grid.upright
    mirrored = Grid((2, 2, 2), np.diag([-1.0, -1.0, 1.0, 1.0]))
    assert not mirrored.upright
    np.testing.assert_allclose(mirrored.axes, np.diag([-1.0, -1, 1]))


def test_straight_is_the_same_grid_in_its_own_axes():
    grid = turned()
    straight = grid.straight
    assert straight.upright
    assert (straight.shape, straight.spacing) == (grid.shape, pytest.approx(grid.spacing))
    index = np.array([3, 1, 5, 1])
    np.testing.assert_allclose((straight.affine @ index)[:3], grid.axes.T @ (grid.affine @ index)[:3])
    upright = Grid.centered((4, 5, 6), (2, 3, 4.5), center=(10, -20, 30))
    assert upright.straight == upright


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 0), (2, 3, 2.5)])
def test_bad_shapes(shape):
    with pytest.raises(InputError, match="shape: found"):
        Grid(shape, np.eye(4))


@pytest.mark.parametrize("affine", [np.eye(3), np.zeros((4, 4)), np.full((4, 4), np.nan)])
def test_bad_affines(affine):
    with pytest.raises(InputError, match="affine: found"):
        Grid((2, 3, 4), affine)
