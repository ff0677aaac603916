# SPDX-License-Identifier: Apache-2.0
"""torch-radon's cone-beam projector (GPL-3, not part of this package)."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import numpy as np
import torch

from monai_iscs.errors import InputError
from monai_iscs.operators.backends.rays import AlignedScan
from monai_iscs.operators.backends.unmatched import UnmatchedBackend
from monai_iscs.operators.circle import EXACT, Circle

if importlib.util.find_spec("_tkinter") is None and "turtle" not in sys.modules:
    # torch_radon.volumes imports `width` from turtle without using it, which fails on servers without Tk
    sys.modules["turtle"] = ModuleType("turtle")
    sys.modules["turtle"].width = None
    import torch_radon

    del sys.modules["turtle"]
else:
    import torch_radon

MAX_VIEWS = 4096


class TorchRadonCone(UnmatchedBackend):
    """torch-radon's projector on CUDA tensors. The adjoint is approximate.

    Lengths are passed in voxels: torch-radon's back-projector adds half a millimetre instead of half a voxel. Its
    angles are a quarter turn ahead of ours.

    Raises:
        InputError: for what torch-radon cannot do: views not on a circle, offsets of the detector or the volume,
            voxels that are not cubes, more than 4,096 views.
    """

    def __init__(self, scan: AlignedScan) -> None:
        super().__init__(scan)
        geometry, grid = self.geometry, self.grid
        circle = Circle.of(geometry, grid.center, backend="torch-radon")
        offset = np.subtract(grid.center, circle.center)
        for name, moved in (("detector_offset", circle.detector_offset), ("volume_offset", offset)):
            if np.abs(moved).max() > EXACT * circle.source_to_detector:
                found = tuple(round(float(mm), 3) for mm in moved)
                raise InputError(f"{name}: found {found} mm, expected 0 for backend 'torch-radon'")
        voxel = grid.spacing[0]
        if not np.allclose(grid.spacing, voxel, rtol=1e-5):
            raise InputError(f"grid: found voxels of {grid.spacing} mm, expected cubes for backend 'torch-radon'")
        if geometry.views > MAX_VIEWS:
            raise InputError(f"geometry: found {geometry.views} views, expected up to {MAX_VIEWS} for 'torch-radon'")
        rows, columns = geometry.detector_shape
        volume = torch_radon.volumes.Volume3D(voxel_size=(1.0, 1.0, 1.0))
        volume.set_size(*grid.shape[::-1])
        self._voxel = voxel
        self._radon = torch_radon.ConeBeam(
            columns,
            circle.angles.astype(np.float32) + np.float32(np.pi / 2),
            src_dist=circle.source_to_isocenter / voxel,
            det_dist=(circle.source_to_detector - circle.source_to_isocenter) / voxel,
            det_count_v=rows,
            det_spacing_u=circle.detector_pitch[1] / voxel,
            det_spacing_v=circle.detector_pitch[0] / voxel,
            volume=volume,
        )

    def project(self, volume: torch.Tensor) -> torch.Tensor:
        return self._voxel * self._radon.forward(volume)

    def backproject(self, projections: torch.Tensor) -> torch.Tensor:
        return self._radon.backward(projections)
