# SPDX-License-Identifier: Apache-2.0
"""Resampling by two with the low-pass filter [1, 3, 3, 1], as plain depthwise convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d

TAPS = (1.0, 3.0, 3.0, 1.0)


class _FIRFilter(nn.Module):
    """The filter along both axes, of sum 1, for every channel alike. What is outside an image counts as zero."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        taps = torch.tensor(TAPS) / sum(TAPS)
        self.register_buffer("kernel", torch.outer(taps, taps)[None, None], persistent=False)

    def _weight(self, x: Tensor) -> Tensor:
        return self.kernel.expand(x.shape[1], -1, -1, -1)


class FIRDownsample(_FIRFilter):
    """(S, C, H, W) at half the size, (S, C, H/2, W/2)."""

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, self._weight(x), stride=2, padding=1, groups=x.shape[1])


class FIRUpsample(_FIRFilter):
    """(S, C, H, W) at twice the size, (S, C, 2H, 2W): three of four samples are new, hence the factor."""

    def forward(self, x: Tensor) -> Tensor:
        return conv_transpose2d(x, 4 * self._weight(x), stride=2, padding=1, groups=x.shape[1])


class FIRSmooth(_FIRFilter):
    """(S, C, H, W) filtered without resampling, (S, C, H + 1, W + 1): its samples lie between those of the input."""

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, self._weight(x), padding=2, groups=x.shape[1])
