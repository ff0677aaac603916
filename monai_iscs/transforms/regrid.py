# SPDX-License-Identifier: Apache-2.0
"""From the grid of a reconstruction to the one that its user wants."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from scipy.interpolate import make_interp_spline

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.scans.meta import grid_of, region_of

SAME = 1e-4  # voxels: grids that are no further apart than this are one grid


def regrid(volume: torch.Tensor, grid: Grid, target: Grid) -> torch.Tensor:
    """A volume at the voxels of another grid, by cubic splines along each axis; the border's values go on outside.

    Args:
        volume: (C, X, Y, Z).
        grid: of the volume.
        target: with axes along the grid's, in either direction.

    Returns:
        (C, *target.shape), of the same type; the very same tensor where the grids are one.

    Raises:
        InputError: a target whose axes are not along the grid's.
    """
    between = np.linalg.inv(np.asarray(grid.affine)) @ np.asarray(target.affine)
    steps = np.diagonal(between)[:3]
    last = np.array(target.shape) - 1
    if np.abs((between[:3, :3] - np.diag(steps)) * last).max() > 0.1:
        raise InputError(f"target: found axes {target.axes.round(3).tolist()}, expected {grid.axes.round(3).tolist()}")
    if grid.shape == target.shape and np.abs(np.r_[between[:3, 3], (steps - 1) * last]).max() < SAME:
        return volume
    for axis, count in enumerate(grid.shape):
        place = between[axis, 3] + steps[axis] * np.arange(target.shape[axis])
        weights = torch.from_numpy(_spline(count, np.clip(place, 0, count - 1))).to(volume)
        volume = torch.tensordot(volume, weights, dims=([1 + axis], [1])).movedim(-1, 1 + axis)
    return volume.contiguous()


def _spline(count: int, place: np.ndarray) -> np.ndarray:
    """Weights (places, count) of the interpolating spline: cubic, of a lower degree through fewer than 4 voxels."""
    if count == 1:
        return np.ones((len(place), 1))
    return make_interp_spline(np.arange(count), np.eye(count), k=min(3, count - 1))(place)


class RegridResult(Transform):
    """A result on the grid of the volume that was scanned, or on the part of its own grid that was wanted.

    A scan's grid may reach beyond what is wanted, as far as its rays do, and have other pixels.
    """

    def __call__(self, img: MetaTensor, image: MetaTensor, label: MetaTensor | None = None) -> MetaTensor:
        """Bring `img` there.

        Args:
            img: (C, X, Y, Z) on the grid of the measurement.
            image: the measurement, which says what part was wanted.
            label: the volume that was scanned; None: a real one.

        Raises:
            InputError: a label in another orientation.
        """
        region = region_of(image)
        if region is not None:
            result = img.as_tensor()[(slice(None), *(slice(*ends) for ends in region))]
            first = torch.tensor([*(start for start, _ in region), 1.0], dtype=torch.float64)
            affine = img.affine.double().clone()
            affine[:, 3] = affine @ first
        elif label is not None:
            result, affine = regrid(img.as_tensor(), grid_of(img), grid_of(label)), label.affine
        else:
            return img
        moved = MetaTensor(result).copy_meta_from(img)
        moved.affine = affine
        return moved


class RegridResultd(MapTransform):
    """Dictionary version of `RegridResult`.

    Args:
        keys: keys of the results.
        measurement_key: key of the measurement.
        reference_key: key of the volume that was scanned; it may be missing.
    """

    def __init__(self, keys: KeysCollection, *, measurement_key: str = "image", reference_key: str = "label") -> None:
        super().__init__(keys)
        self.measurement_key, self.reference_key = measurement_key, reference_key
        self.regrid = RegridResult()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Bring every key there."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.regrid(result[key], result[self.measurement_key], result.get(self.reference_key))
        return result


RegridResultD = RegridResultDict = RegridResultd
