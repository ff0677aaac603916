# SPDX-License-Identifier: Apache-2.0
"""torch-radon's cone-beam projector (GPL-3, not part of this package)."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import numpy as np
import torch

from monai_iscs.operators.backends.scan_forms import HelixScan
from monai_iscs.operators.backends.unmatched import UnmatchedBackend

if importlib.util.find_spec("_tkinter") is None and "turtle" not in sys.modules:
    # torch_radon.volumes imports `width` from turtle without using it, which fails on servers without Tk
    sys.modules["turtle"] = ModuleType("turtle")
    sys.modules["turtle"].width = None
    import torch_radon

    del sys.modules["turtle"]
else:
    import torch_radon


class TorchRadonCone(UnmatchedBackend):
    """torch-radon's projector on CUDA tensors. The adjoint is approximate.

    Lengths are passed in voxels: torch-radon's back-projector adds half a millimetre instead of half a voxel. Its
    angles are a quarter turn ahead of ours, and its source rises with the angle, about an axis through its origin.
    """

    def __init__(self, scan: HelixScan) -> None:
        super().__init__(scan)
        helix, grid = scan.helix, self.grid
        rows, columns = self.geometry.detector_shape
        self._voxel = voxel = grid.spacing[0]
        center = np.subtract(grid.center, helix.center) / voxel
        volume = torch_radon.volumes.Volume3D(center=tuple(center.tolist()), voxel_size=(1.0, 1.0, 1.0))
        volume.set_size(*grid.shape[::-1])
        self._radon = torch_radon.ConeBeam(
            columns,
            (helix.angles + np.pi / 2).astype(np.float32),
            src_dist=helix.source_to_isocenter / voxel,
            det_dist=(helix.source_to_detector - helix.source_to_isocenter) / voxel,
            det_count_v=rows,
            det_spacing_u=helix.detector_pitch[1] / voxel,
            det_spacing_v=helix.detector_pitch[0] / voxel,
            pitch=helix.rise / voxel,
            base_z=-helix.rise / 4 / voxel,
            volume=volume,
        )

    def project(self, volume: torch.Tensor) -> torch.Tensor:
        return self._voxel * self._radon.forward(volume)

    def backproject(self, projections: torch.Tensor) -> torch.Tensor:
        return self._radon.backward(projections)
