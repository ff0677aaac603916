# SPDX-License-Identifier: Apache-2.0
"""What a scanner gave: all that a method may see."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import LinearOperator
from monai_iscs.scans.noise_level import estimate_noise_level


class Measurement:
    """y = A x + noise, with all that is known of it.

    Args:
        data: y, (C, *operator.range_shape), such as line integrals (C, view, v, u); real and finite.
        operator: A, from volumes (X, Y, Z) on the grid.
        grid: of the volume that is to be reconstructed. None: voxels of 1 mm, centred on the origin.
        noise_level: root mean square of the noise, in the units of y; 0 where there is none. None: estimated from y
            when a method asks for it, see `estimate_noise_level`.

    Raises:
        InputError: data of another shape, complex or not finite, another grid than the operator's, or a negative level.
    """

    def __init__(
        self, data: Tensor, operator: LinearOperator, grid: Grid | None = None, *, noise_level: float | None = None
    ) -> None:
        data = real_tensor(data, "measurement").as_subclass(torch.Tensor)
        grid = Grid.centered(operator.domain_shape, (1.0, 1.0, 1.0)) if grid is None else grid
        if data.ndim != 1 + len(operator.range_shape) or tuple(data.shape[1:]) != tuple(operator.range_shape):
            raise InputError(
                f"measurement: found shape {tuple(data.shape)}, expected (C, "
                f"{', '.join(map(str, operator.range_shape))}), which the operator gives for a volume of "
                f"{tuple(operator.domain_shape)} voxels"
            )
        if not bool(torch.isfinite(data).all()):
            raise InputError("measurement: found NaN or infinite values, expected finite ones")
        if tuple(operator.domain_shape) != grid.shape:
            raise InputError(f"grid: found {grid.shape} voxels, expected the operator's {tuple(operator.domain_shape)}")
        if noise_level is not None and not noise_level >= 0:
            raise InputError(f"noise_level: found {noise_level}, expected a number of at least 0")
        self.data, self.operator, self.grid = data, operator, grid
        self._given = noise_level

    @cached_property
    def noise_level(self) -> float:
        """Root mean square of the noise: what was given, or an estimate."""
        return estimate_noise_level(self.data, self.operator) if self._given is None else float(self._given)

    @property
    def channels(self) -> int:
        """C, of the data and of the volume."""
        return len(self.data)

    @property
    def volume_shape(self) -> tuple[int, ...]:
        """(C, X, Y, Z) of the volume that is to be reconstructed."""
        return (self.channels, *self.grid.shape)

    def to(self, device: torch.device | str) -> Measurement:
        """The same on another device."""
        return Measurement(self.data.to(device), self.operator, self.grid, noise_level=self._given)

    def seen_by(self, operator: LinearOperator) -> Measurement:
        """The same data with another operator in the place of an equal one, such as one that processes share."""
        return Measurement(self.data, operator, self.grid, noise_level=self._given)
