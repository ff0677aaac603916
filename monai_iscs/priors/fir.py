# SPDX-License-Identifier: Apache-2.0
"""Resampling by two with the low-pass filter [1, 3, 3, 1].

Depthwise convolutions on a CPU; sums of shifted copies on CUDA, where such convolutions are slow and the compiler can
fuse the sums with the layers before and after them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, pad

TAPS = (1.0, 3.0, 3.0, 1.0)


class _FIRFilter(nn.Module):
    """The filter along both axes, of sum 1, the same for every channel. Outside an image there are zeros."""

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
        if x.is_cuda:
            return halved(halved(x, 2), 3)
        return conv2d(x, self._weight(x), stride=2, padding=1, groups=x.shape[1])


class FIRUpsample(_FIRFilter):
    """(S, C, H, W) at twice the size, (S, C, 2H, 2W): three of four samples are zeros before, hence the factor."""

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda:
            return doubled(doubled(x, 2), 3)
        return conv_transpose2d(x, 4 * self._weight(x), stride=2, padding=1, groups=x.shape[1])


class FIRSmooth(_FIRFilter):
    """(S, C, H, W) filtered without resampling, (S, C, H + 1, W + 1): its samples are between those of the input."""

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda:
            return smoothed(smoothed(x, 2), 3)
        return conv2d(x, self._weight(x), padding=2, groups=x.shape[1])


def halved(x: Tensor, axis: int) -> Tensor:
    """Every other sample of the filtered x along an axis of even length."""
    size = x.shape[axis] // 2
    even, odd = _padded(x, axis, 1).unflatten(axis, (size + 1, 2)).unbind(axis + 1)
    outer = even.narrow(axis, 0, size) + odd.narrow(axis, 1, size)
    inner = odd.narrow(axis, 0, size) + even.narrow(axis, 1, size)
    return 0.125 * outer + 0.375 * inner


def doubled(x: Tensor, axis: int) -> Tensor:
    """Twice as many samples along an axis: each is a quarter of the distance from one of x to a neighbour."""
    size, padded = x.shape[axis], _padded(x, axis, 1)
    neighbours = (padded.narrow(axis, start, size) for start in (0, 2))
    return torch.stack([0.75 * x + 0.25 * neighbour for neighbour in neighbours], axis + 1).flatten(axis, axis + 1)


def smoothed(x: Tensor, axis: int) -> Tensor:
    """The filtered x along an axis, one sample more."""
    size, padded = x.shape[axis] + 1, _padded(x, axis, 2)
    first, second, third, fourth = (padded.narrow(axis, start, size) for start in range(4))
    return 0.125 * (first + fourth) + 0.375 * (second + third)


def _padded(x: Tensor, axis: int, width: int) -> Tensor:
    return pad(x, [0, 0] * (x.ndim - 1 - axis) + [width, width])
