# SPDX-License-Identifier: Apache-2.0
"""Intervals of a calibrated width around an ensemble's mean, and how often the truth lies in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.operators import GaussianSmoothing

LEVEL = 0.95  # share of voxels whose true value the intervals contain


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """Half-widths of intervals: factor · sqrt(smoothed variance + floor²).

    The variance of a few samples varies from voxel to voxel by chance; smoothing it in the plane of the slices averages
    that out. The floor stands for errors that all samples share, where they hardly differ.

    Args:
        smoothing: standard deviation of the Gaussian, voxels of the reconstruction; 0: none.
        floor: in the units of the spread, at least 0.
        factor: above 0.

    Raises:
        InputError: a number out of range.
    """

    smoothing: float
    floor: float
    factor: float = 1.0

    def __post_init__(self) -> None:
        for name in ("smoothing", "floor", "factor"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not number or value < 0 or (name == "factor" and value == 0):
                least = "above" if name == "factor" else "of at least"
                raise InputError(f"{name}: found {value!r}, expected a number {least} 0")

    def half_width(self, std: Tensor, axis: int) -> Tensor:
        """Half-widths of a spread (1, X, Y, Z) of slices that are stacked along an axis of (X, Y, Z)."""
        variance = std.square()
        for along in {0, 1, 2} - {axis} if self.smoothing else ():
            smooth = GaussianSmoothing(std.shape[1:], std=self.smoothing, axis=along)
            variance = smooth.forward(variance)
        return self.factor * (variance.clamp(min=0) + self.floor**2).sqrt()


def conformal_factor(scores: Sequence[Tensor], level: float = LEVEL) -> float:
    """What to multiply half-widths by, so that they contain this share of the errors.

    A score is |error| / half-width. Of n exchangeable scores, the ceil((n + 1) · level)-th smallest one is not exceeded
    by the next one with at least that probability (split conformal prediction, Vovk 2005; Lei et al. 2018). The voxels
    of a volume are not independent, so for another patient this is an empirical quantile without a guarantee, in which
    volumes count alike, whatever their size: the evidence is the coverage of patients that were left out.

    Args:
        scores: of each volume, any shape, at least 0.
        level: above 0 and below 1.

    Raises:
        InputError: no scores, too few of them for the level, or another level.
    """
    if not 0 < level < 1:
        raise InputError(f"level: found {level}, expected a share above 0 and below 1")
    counts, least = [score.numel() for score in scores], math.ceil(level / (1 - level) - 1e-9)
    if not counts or min(counts) < least:
        raise InputError(f"scores: found {counts}, expected at least {least} of each volume")
    values = torch.cat([score.flatten().double() for score in scores])
    weights = torch.cat([torch.full((count,), 1 / (count + 1), dtype=torch.float64) for count in counts])
    order = values.argsort()
    reached = weights[order].cumsum(0) / len(counts)
    place = int(torch.searchsorted(reached, level - 1e-12))  # a rounded sum may lie below the level
    return float(values[order][min(place, len(values) - 1)])


def coverage(error: Tensor, half_width: Tensor) -> float:
    """Share of the voxels whose error, without its sign, is not above the half-width."""
    return float((error.abs() <= half_width).double().mean())


def body_mask(volume: Tensor, tissue: float, axis: int) -> Tensor:
    """The voxels of a body with all that it encloses, such as lungs: (1, X, Y, Z), booleans on the CPU.

    The largest connected part above a value, with its holes filled slice by slice.

    Args:
        volume: (1, X, Y, Z).
        tissue: value between that of air and those of tissue.
        axis: that slices are stacked along, an axis of (X, Y, Z).

    Raises:
        InputError: there is no such voxel.
    """
    above = np.asarray(volume.detach().cpu()[0] > tissue)
    parts, count = ndimage.label(above)
    if not count:
        raise InputError(f"reference: found no voxel above {tissue:g}, expected a body")
    body = parts == np.bincount(parts.flat)[1:].argmax() + 1
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in np.moveaxis(body, axis, 0)], axis)
    return torch.from_numpy(filled)[None]
