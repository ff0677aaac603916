# SPDX-License-Identifier: Apache-2.0
"""Less noise than the prior is told, down to none."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.sampling.noise import Canvas, SliceNoise


@dataclass(frozen=True)
class PartialNoise(SliceNoise):
    """A share of another noise, while the prior is still told the whole sigma.

    The estimate's own error then takes the place of the missing noise. For a linear prior the expected error is that of
    the noiseless run plus the injected noise's part, which grows with the square of the share.

    Args:
        noise: of which the share is injected.
        injection: the share, 0 to 1: the standard deviation of the result; 1 is the noise itself.

    Raises:
        InputError: a share outside 0 to 1.
    """

    noise: SliceNoise
    injection: float

    def __post_init__(self) -> None:
        if not 0 <= self.injection <= 1:
            raise InputError(f"injection: found {self.injection}, expected a share from 0 (none) to 1 (all of it)")

    @property
    def label(self) -> str:
        return f"{self.noise.label or 'independent'} x {self.injection:g}"

    @property
    def aligned(self) -> bool:
        return self.noise.aligned or self.injection == 0

    @property
    def random(self) -> bool:
        return self.noise.random and self.injection > 0

    def stack(self, canvas: Canvas, sigma: float) -> Tensor:
        return self.injection * self.noise.stack(canvas, sigma)


@dataclass(frozen=True)
class NoNoise(SliceNoise):
    """No noise: the limit of perfectly consistent slices.

    The sampler becomes the fixed-point iteration of plug-and-play methods (half-quadratic splitting): deterministic, no
    samples of a distribution. Its sigmas only say how much the prior removes.
    """

    label = "noiseless"
    random = False

    def stack(self, canvas: Canvas, sigma: float) -> Tensor:
        return canvas.send(torch.zeros(canvas.shape))
