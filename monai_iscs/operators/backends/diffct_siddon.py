# SPDX-License-Identifier: Apache-2.0
"""diffct's cone-beam projector (Apache-2.0)."""

from __future__ import annotations

import numpy as np
import torch
from diffct import Projector

from monai_iscs.operators.backends.scan_forms import PixelScan


class DiffctSiddon:
    """Siddon's method with its exact transpose, in float32: voxels are constant, which differs from Joseph's method.

    Native CUDA kernels for CUDA tensors; diffct's portable PyTorch code, a hundred times slower than numba, for CPU
    tensors.
    """

    def __init__(self, scan: PixelScan) -> None:
        self.geometry, self.grid, self._pitch = scan.geometry, scan.grid, scan.pitch
        self._made: dict[torch.device, Projector] = {}

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        x = volume.detach().to(torch.float32).permute(0, 3, 2, 1).contiguous()
        y = self._projector(x.device).project(x)
        return y.transpose(-1, -2).contiguous().to(volume.dtype)

    def adjoint(self, projections: torch.Tensor) -> torch.Tensor:
        y = projections.detach().to(torch.float32).transpose(-1, -2).contiguous()
        x = self._projector(y.device).backproject(y)
        return x.permute(0, 3, 2, 1).contiguous().to(projections.dtype)

    def _projector(self, device: torch.device) -> Projector:
        if device not in self._made:
            self._made[device] = self._build(device)
        return self._made[device]

    def _build(self, device: torch.device) -> Projector:
        geometry, grid = self.geometry, self.grid
        moved = np.asarray(grid.center)  # diffct's volume is centred on the origin
        vectors = (
            geometry.source - moved,
            geometry.detector - moved,
            geometry.u / self._pitch[1],
            geometry.v / self._pitch[0],
        )
        return Projector(
            beam="cone",
            trajectory=tuple(torch.as_tensor(vector, dtype=torch.float32, device=device) for vector in vectors),
            volume_shape=grid.shape[::-1],
            detector_shape=geometry.detector_shape[::-1],
            detector_spacing=self._pitch[::-1],
            voxel_spacing=grid.spacing[::-1],
            backend="auto" if device.type == "cuda" else "torch",
        )
