# SPDX-License-Identifier: Apache-2.0
"""Noise of MR images, for `SimulateMeasurement`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from monai_iscs.errors import InputError
from monai_iscs.scans.robust_maximum import robust_maximum


@dataclass(frozen=True)
class GaussianNoise:
    """Gaussian noise, as in an image far brighter than its noise: `y + s n`, `s = std · robust_maximum(y)`.

    Args:
        std: standard deviation over the robust maximum of the image without noise; 0.02 is a usual scan.

    Raises:
        InputError: a negative standard deviation.
    """

    std: float

    def __post_init__(self) -> None:
        if not 0 <= self.std < float("inf"):
            raise InputError(f"std: found {self.std}, expected zero or a positive share of the robust maximum")

    def __call__(self, clean: Tensor, generator: Generator) -> Tensor:
        """Add the noise to an image (C, X, Y, Z) on the CPU."""
        return clean + self.std * robust_maximum(clean) * torch.randn(clean.shape, generator=generator)


@dataclass(frozen=True)
class RicianNoise(GaussianNoise):
    """Noise of a magnitude image (Gudbjartsson and Patz 1995): `√((y + s n₁)² + (s n₂)²)`, s as in `GaussianNoise`."""

    def __call__(self, clean: Tensor, generator: Generator) -> Tensor:
        """Add the noise to an image (C, X, Y, Z) on the CPU; where there is no signal its mean is s √(π/2)."""
        s = self.std * robust_maximum(clean)
        return torch.hypot(super().__call__(clean, generator), s * torch.randn(clean.shape, generator=generator))
