# SPDX-License-Identifier: Apache-2.0
"""Opposite noise: two runs with it and without it err in opposite directions, to first order."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from monai_iscs.sampling.noise import Canvas, SliceNoise


@dataclass(frozen=True)
class Opposite(SliceNoise):
    """Another noise with the opposite sign: of the same law, because noise is symmetric about 0.

    With the same random numbers, the mean of a run with the noise and one with its opposite has no error of first order
    in the noise (antithetic variates, Hammersley and Morton 1956). Where prior and consistency step are linear, it is
    the noiseless run; not with `AdaptiveNoise`, whose correlation follows each run's own estimate.

    Args:
        noise: whose sign is changed.
    """

    noise: SliceNoise

    @property
    def label(self) -> str:
        return self.noise.label

    @property
    def aligned(self) -> bool:
        return self.noise.aligned

    @property
    def random(self) -> bool:
        return self.noise.random

    def stack(self, canvas: Canvas, sigma: float) -> Tensor:
        return -self.noise.stack(canvas, sigma)
