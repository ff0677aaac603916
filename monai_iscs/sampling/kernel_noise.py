# SPDX-License-Identifier: Apache-2.0
"""Slice noise whose correlation is a function of the distance in mm."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from monai_iscs.errors import expect
from monai_iscs.sampling.noise import Canvas, SliceNoise

JITTER = 1e-9  # variance that makes the matrices of smooth kernels positive definite in float64


@dataclass(frozen=True)
class Kernel(ABC):
    """The correlation of two slices by their distance (Rasmussen and Williams 2006, Chapter 4).

    Args:
        length_mm: correlation length.

    Raises:
        InputError: a length that is not above 0.
    """

    length_mm: float

    def __post_init__(self) -> None:
        expect(0 < self.length_mm < math.inf, "length_mm", self.length_mm, "a number above 0")

    @abstractmethod
    def __call__(self, distance: Tensor) -> Tensor:
        """The correlation at distances in mm, 1 at 0; float64."""


@dataclass(frozen=True)
class Exponential(Kernel):
    """exp(-d / l): a first-order autoregression along the slices, which wanders at every scale."""

    def __call__(self, distance: Tensor) -> Tensor:
        return (-distance / self.length_mm).exp()


@dataclass(frozen=True)
class Matern(Kernel):
    """The Matérn kernel of smoothness 3/2: (1 + sqrt(3) d / l) exp(-sqrt(3) d / l)."""

    def __call__(self, distance: Tensor) -> Tensor:
        scaled = math.sqrt(3) * distance / self.length_mm
        return (1 + scaled) * (-scaled).exp()


@dataclass(frozen=True)
class SquaredExponential(Kernel):
    """exp(-d² / (2 l²)): smooth along the slices."""

    def __call__(self, distance: Tensor) -> Tensor:
        return (-0.5 * (distance / self.length_mm) ** 2).exp()


@dataclass(frozen=True)
class KernelNoise(SliceNoise):
    """Noise that forgets over some mm: a stationary Gaussian process along the slices, white in their plane.

    The noise of slices at z_i is `L w` with independent maps w and `L Lᵀ = (1 - white) k(|z_i - z_j|) + white I`. The
    rows of L are scaled to length 1, so that each slice is N(0, I) exactly. Slerp noise has the correlation
    cos(Omega d / length of the stack) instead, which does not depend on mm.

    It draws a map for each slice. Time and memory: S² multiply-adds a pixel, and two stacks.

    Args:
        kernel: correlation by distance.
        white: share of the variance that is independent in each slice, 0 to 1.

    Raises:
        InputError: a share outside 0 to 1.
    """

    kernel: Kernel = field(default_factory=lambda: Matern(20.0))
    white: float = 0.0
    label = "kernel"

    @property
    def aligned(self) -> bool:
        return self.white < 1

    def __post_init__(self) -> None:
        expect(0 <= self.white <= 1, "white", self.white, "a share from 0 to 1")

    def stack(self, canvas: Canvas, sigma: float) -> Tensor:
        factor = canvas.send(self.factor(canvas.positions))
        maps = canvas.send(canvas.draw(canvas.shape[0]))
        return (factor @ maps.flatten(1)).view(maps.shape)

    def factor(self, positions: Tensor) -> Tensor:
        """L for slices at positions in mm, (S,), in any distances; float64, (S, S), lower triangular."""
        correlation = (1 - self.white) * self.kernel((positions[:, None] - positions).abs())
        correlation.diagonal().add_(self.white + JITTER)
        # Cholesky's is the same on all machines up to rounding; eigenvectors have any sign
        factor = torch.linalg.cholesky(correlation)
        return factor / torch.linalg.vector_norm(factor, dim=1, keepdim=True)
