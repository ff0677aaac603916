# SPDX-License-Identifier: Apache-2.0
"""The ramp filter in a plane."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.operators.linear_operator import LinearOperator


class RampFilter(LinearOperator):
    """Multiplication by |f| in a plane, up to a cutoff, and by 1 beyond it; f is the spatial frequency.

    Backprojecting the projections of an image from all sides blurs it by 1 / |f| (Kak and Slaney 1988, chapter 3): the
    ramp makes up for that. Symmetric and positive definite; the plane is continued periodically. At f = 0 it is the
    mean of |f| over a sample's cell of the frequency plane, so that a constant passes a little.

    Args:
        shape: trailing shape of what is filtered.
        spacing: the two axes of the plane, each with the distance of its samples (mm).
        cutoff: from where on frequencies pass unchanged, as a share of the lower of both Nyquist frequencies, above 0.

    Attributes:
        mean_inverse: mean of 1 / gain over the frequencies: of R⁻¹'s eigenvalues, and so each of its diagonal's values.

    Raises:
        InputError: a cutoff that is not above 0, distances that are not, or axes that `shape` does not have.
    """

    def __init__(self, shape: Sequence[int], *, spacing: Mapping[int, float], cutoff: float) -> None:
        if not 0 < cutoff < math.inf:
            raise InputError(f"cutoff: found {cutoff}, expected a share of the Nyquist frequency above 0")
        if len(spacing) != 2 or not all(0 <= axis < len(shape) for axis in spacing):
            raise InputError(f"spacing: found the axes {sorted(spacing)}, expected two axes of {tuple(shape)}")
        if not all(0 < step < math.inf for step in spacing.values()):
            raise InputError(f"spacing: found {tuple(spacing.values())}, expected distances above 0")
        self.domain_shape = self.range_shape = tuple(shape)
        self._axes = tuple(sorted(spacing))
        (first, second), steps = self._axes, [spacing[axis] for axis in self._axes]
        rows = torch.fft.fftfreq(shape[first], steps[0], dtype=torch.float64)
        columns = torch.fft.rfftfreq(shape[second], steps[1], dtype=torch.float64)
        frequency = torch.hypot(rows[:, None], columns)
        frequency[0, 0] = _mean_distance(0.5 / (shape[first] * steps[0]), 0.5 / (shape[second] * steps[1]))
        gain = (frequency * 2 * max(steps) / cutoff).clamp_max(1)
        spread = [1] * len(shape)
        spread[first], spread[second] = gain.shape
        self._gain = gain.reshape(spread)
        # of the whole plane: rfft keeps one of each two opposite columns
        double = 2 - (torch.arange(gain.shape[1]) % max(shape[second] / 2, 1) == 0).double()
        self.mean_inverse = float((double / gain).sum()) / (shape[first] * shape[second])
        self._made: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        return self._filter(x, self._made_for(x))

    def regularised(self, x: Tensor, weight: float) -> Tensor:
        """The inverse of `1 + weight R⁻¹`: multiplication by g / (g + weight), g being this filter's gain."""
        gain = self._made_for(x)
        return self._filter(x, gain / (gain + weight))

    def _made_for(self, x: Tensor) -> Tensor:
        key = (x.device, x.dtype)
        if key not in self._made:
            self._made[key] = self._gain.to(x)
        return self._made[key]

    def _filter(self, x: Tensor, gain: Tensor) -> Tensor:
        axes = [axis + 1 for axis in self._axes]
        spectrum = torch.fft.rfft2(x, dim=axes).mul_(gain)
        return torch.fft.irfft2(spectrum, s=[x.shape[axis] for axis in axes], dim=axes)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.forward(y)


def _mean_distance(a: float, b: float) -> float:
    """Mean distance of a rectangle's points from its middle; a and b are half of its sides."""
    d = math.hypot(a, b)
    return d / 3 + a * a / (6 * b) * math.log((b + d) / a) + b * b / (6 * a) * math.log((a + d) / b)
