# SPDX-License-Identifier: Apache-2.0
"""Differences of neighbouring voxels, and the shrinkage that makes them sparse: the two halves of total variation."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from monai_iscs.errors import InputError
from monai_iscs.operators.linear_operator import LinearOperator


class Differences(LinearOperator):
    """Forward differences x[i+1] − x[i] along chosen axes, 0 at the last voxel: the two ends are not neighbours.

    The range is (len(axes), *shape), one map for each axis. Differences are per voxel, for any size in mm.
    ‖D‖² < 4 · len(axes).

    Args:
        shape: trailing shape of what is differenced.
        axes: of `shape`; default all.

    Raises:
        InputError: no axis, an axis that `shape` doesn't have, or a repeated one.
    """

    def __init__(self, shape: Sequence[int], *, axes: Sequence[int] | None = None) -> None:
        axes = tuple(range(len(shape)) if axes is None else axes)
        if not axes or len(set(axes)) < len(axes) or not all(0 <= axis < len(shape) for axis in axes):
            raise InputError(f"axes: found {axes}, expected different axes of {tuple(shape)}, 0 to {len(shape) - 1}")
        self.domain_shape = tuple(shape)
        self.range_shape = (len(axes), *shape)
        self.axes = axes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = x.new_zeros(len(x), *self.range_shape)
        for index, axis in enumerate(self.axes):
            inner = self.domain_shape[axis] - 1
            out[:, index].narrow(axis + 1, 0, inner).copy_(x.diff(dim=axis + 1))
        return out

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        out = y.new_zeros(len(y), *self.domain_shape)
        for index, axis in enumerate(self.axes):
            inner = self.domain_shape[axis] - 1
            step = y[:, index].narrow(axis + 1, 0, inner)
            out.narrow(axis + 1, 1, inner).add_(step)
            out.narrow(axis + 1, 0, inner).sub_(step)
        return out


def soft_threshold(x: torch.Tensor, threshold: float) -> torch.Tensor:
    """The proximal map of threshold · ‖x‖₁: each value moves towards 0 by the threshold, at most to 0.

    Args:
        x: any shape.
        threshold: at least 0, in units of x.

    Returns:
        Shape of x.
    """
    return torch.nn.functional.softshrink(x, threshold)


def shrink_length(x: torch.Tensor, threshold: float, *, dim: int = 0) -> torch.Tensor:
    """The proximal map of threshold · ‖x‖₂,₁: each vector along `dim` gets shorter by the threshold, at most to 0.

    Args:
        x: any shape; a vector may be 0.
        threshold: at least 0, in units of x.
        dim: of the vectors.

    Returns:
        Shape of x.
    """
    length = torch.linalg.vector_norm(x, dim=dim, keepdim=True)
    kept = (length - threshold).clamp_min(0)
    return x * torch.where(kept > 0, kept / torch.where(kept > 0, length, 1.0), 0.0)
