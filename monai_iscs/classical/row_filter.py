# SPDX-License-Identifier: Apache-2.0
"""The ramp filter along detector rows, which filtered backprojections share."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from monai_iscs.errors import InputError

CUT = 0.02  # of the largest line integral: what the edge columns have on average where the body goes on beyond them


def check_hann(hann: float | None) -> None:
    """Raise an `InputError` for a cut-off that is no fraction of the Nyquist frequency."""
    if hann is not None and not 0 < hann <= 1:
        raise InputError(f"hann: found {hann}, expected a fraction of the Nyquist frequency in (0, 1], or None")


def columns_beyond(y: torch.Tensor) -> int:
    """How many columns to continue rows (view, v, u) by on each side: a quarter where the body is wider than they."""
    edges = y[..., [0, -1]].mean(dim=(0, 1)).abs().max()
    return bool(edges > CUT * y.abs().max()) * (y.shape[2] // 4)


def filter_rows(
    y: torch.Tensor,
    weights: Iterable[torch.Tensor],
    hann: float | None,
    beyond: int,
    *,
    before: int = 0,
    after: int = 0,
    bent: torch.Tensor | None = None,
) -> torch.Tensor:
    """Weigh the rays and convolve each detector row with a band-limited ramp in pixels (Kak and Slaney 1988, Eq. 61).

    Args:
        y: (view, v, u).
        weights: of the pixels (v, u) of each view.
        hann: cut-off of a Hann window as a fraction of the Nyquist frequency; None = no window.
        beyond: columns to continue on each side, falling from the values at the edges to 0.
        before: columns of zeros to add in front of these.
        after: the same at the end.
        bent: (view, distance in pixels), by which the ramp is multiplied at each distance; None: 1, a flat detector.

    Returns:
        (view, v, before + beyond + u + beyond + after).
    """
    rows, columns = y.shape[1:]
    wide = before + columns + after + 2 * beyond
    fall = torch.cos(torch.linspace(0, math.pi / 2, beyond + 2)[1:-1]).square().to(y)
    length = 2 ** math.ceil(math.log2(max(2 * wide, 2)))
    n = torch.fft.fftfreq(length, 1 / length, dtype=torch.float64).round()
    kernel = torch.where(n % 2 == 0, 0.0, -1 / (math.pi * torch.where(n == 0, 1.0, n)) ** 2)
    kernel[0] = 1 / 4
    window = torch.ones(length // 2 + 1, dtype=torch.float64)
    if hann is not None:
        frequency = torch.linspace(0, 1, len(window), dtype=torch.float64)
        window = torch.where(frequency < hann, 0.5 + 0.5 * torch.cos(math.pi * frequency / hann), 0.0)
    response = (torch.fft.rfft(kernel).real * window).to(y)
    filtered = y.new_empty(len(y), rows, wide)
    # a view at a time: the zero-padded spectra of all views together would be the largest thing in memory
    for view, (image, out, weight) in enumerate(zip(y, filtered, weights, strict=True)):
        if bent is not None:
            factor = bent[view][n.abs().long().clamp(max=wide - 1)]
            response = (torch.fft.rfft(kernel * factor).real * window).to(y)
        weighted = image * weight.to(y)
        weighted = torch.cat([weighted[:, :1] * fall.flip(0), weighted, weighted[:, -1:] * fall], 1)
        padded = torch.nn.functional.pad(weighted, (before, after))
        out[:] = torch.fft.irfft(torch.fft.rfft(padded, length) * response, length)[..., :wide]
    return filtered
