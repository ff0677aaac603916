# SPDX-License-Identifier: Apache-2.0
"""What projectors without an exact adjoint have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from monai_iscs.operators.backends.rays import AlignedScan


class UnmatchedBackend(ABC):
    """A ray-driven projector A with a voxel-driven back-projector B, scaled so that B approximates Aᵀ.

    B samples the measurement between rays: it is near the transpose on smooth measurements, and far from it on noise.
    Its weights differ between libraries and versions by a factor, which is therefore measured once, on a constant
    volume x: ‖A x‖² = <x, Aᵀ A x>.

    A subclass projects volumes (N, Z, Y, X) to (N, view, v, u) and back, in float32.
    """

    def __init__(self, scan: AlignedScan) -> None:
        self.geometry, self.grid = scan.geometry, scan.grid
        self._scale: float | None = None

    @abstractmethod
    def project(self, volume: torch.Tensor) -> torch.Tensor:
        """Contiguous (N, Z, Y, X) to (N, view, v, u)."""

    @abstractmethod
    def backproject(self, projections: torch.Tensor) -> torch.Tensor:
        """Contiguous (N, view, v, u) to (N, Z, Y, X), up to a factor."""

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        x = volume.detach().to(torch.float32).permute(0, 3, 2, 1).contiguous()
        return self.project(x).to(volume.dtype)

    def adjoint(self, projections: torch.Tensor) -> torch.Tensor:
        y = projections.detach().to(torch.float32).contiguous()
        if self._scale is None:
            seen = self.project(torch.ones(1, *self.grid.shape[::-1], device=y.device))
            back = float(self.backproject(seen).double().sum())
            self._scale = float(seen.double().square().sum()) / back if back else 1.0  # no ray meets the volume
        x = self._scale * self.backproject(y)
        return x.permute(0, 3, 2, 1).contiguous().to(projections.dtype)
