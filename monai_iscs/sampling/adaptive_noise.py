# SPDX-License-Identifier: Apache-2.0
"""Slice noise whose correlation follows the anatomy: high where neighbouring slices are alike."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from monai_iscs.errors import expect
from monai_iscs.sampling.kernel_noise import Exponential, Kernel
from monai_iscs.sampling.noise import Canvas, SliceNoise


@dataclass(frozen=True)
class AdaptiveNoise(SliceNoise):
    """Neighbouring slices share their noise where the current estimate says that they are alike.

    ISCS names a correlation that depends on the data as future work (its Discussion). Here it is, per pixel and step,

        eps_0 = w_0,  eps_i = R_i eps_{i-1} + sqrt(1 - R_i²) w_i,
        R_i = k(z_i - z_{i-1}) exp(-d_i² / (2 contrast²)),  d_i = |G (x0_i - x0_{i-1})|,

    with independent maps w, the kernel k, and the mean G over a square of pixels. R does not depend on this step's
    maps, so that each slice is N(0, I) exactly. The start has no estimate: R is k there.

    Args:
        contrast: difference of neighbouring slices, in the prior's units, at which the correlation falls to 0.61 of the
            kernel's.
        width: G is over `2 width + 1` pixels a side. It keeps the estimate's noise from being taken for anatomy.
        kernel: correlation of slices that are alike, by their distance.

    Raises:
        InputError: a contrast that is not above 0, or a width that is not a whole number of at least 0.
    """

    contrast: float = 0.05
    width: int = 2
    kernel: Kernel = field(default_factory=lambda: Exponential(200.0))
    label = "adaptive"
    follows_estimate = True

    def __post_init__(self) -> None:
        expect(self.contrast > 0, "contrast", self.contrast, "a number above 0")
        whole = isinstance(self.width, int) and not isinstance(self.width, bool)
        expect(whole and self.width >= 0, "width", self.width, "a whole number of at least 0")

    def stack(self, canvas: Canvas, sigma: float) -> Tensor:
        stack = canvas.send(canvas.draw(canvas.shape[0]))
        alike = canvas.send(self.kernel(canvas.positions.diff()))
        square = {"kernel_size": 2 * self.width + 1, "stride": 1, "padding": self.width, "count_include_pad": False}
        for index in range(1, len(stack)):
            share = alike[index - 1]
            if canvas.estimate is not None:
                difference = avg_pool2d(canvas.estimate[index] - canvas.estimate[index - 1], **square)
                share = share * torch.exp(-0.5 * (difference / self.contrast) ** 2)
            stack[index] = share * stack[index - 1] + (1 - share**2).sqrt() * stack[index]
        return stack
