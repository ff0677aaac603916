# SPDX-License-Identifier: Apache-2.0
"""Smoothing along one axis."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from monai_iscs.errors import InputError
from monai_iscs.operators.along_axis import AlongAxis


class GaussianSmoothing(AlongAxis):
    """Convolution with a Gaussian along one axis, mirrored at both ends.

    Symmetric and positive semidefinite: the cosine transform (type 2) diagonalises it. A constant stays as it is.

    Args:
        shape: trailing shape of what is smoothed.
        std: standard deviation of the Gaussian in voxels, above 0.
        axis: of `shape`.

    Raises:
        InputError: a standard deviation that is not above 0, or an axis that `shape` doesn't have.
    """

    def __init__(self, shape: Sequence[int], *, std: float, axis: int) -> None:
        if not 0 < std < float("inf"):
            raise InputError(f"std: found {std}, expected a number of voxels above 0")
        if not 0 <= axis < len(shape):
            raise InputError(f"axis: found {axis}, expected 0 to {len(shape) - 1}, an axis of {tuple(shape)}")
        length = shape[axis]
        frequencies = torch.arange(length, dtype=torch.float64) * torch.pi / length
        positions = torch.arange(length, dtype=torch.float64) + 0.5
        cosines = torch.cos(frequencies[:, None] * positions)
        cosines = cosines / cosines.norm(dim=1, keepdim=True)
        matrix = cosines.T @ (torch.exp(-((std * frequencies) ** 2) / 2)[:, None] * cosines)
        super().__init__(shape, matrix, axis)
        self._twice = AlongAxis(shape, matrix @ matrix, axis)

    def gram(self, x: torch.Tensor) -> torch.Tensor:
        return self._twice.forward(x)
