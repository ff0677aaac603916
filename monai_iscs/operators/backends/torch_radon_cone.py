# SPDX-License-Identifier: Apache-2.0
"""torch-radon's cone-beam projector (GPL-3, not part of this package)."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import numpy as np
import torch

from monai_iscs.errors import InputError
from monai_iscs.operators.backends.rays import RayTable
from monai_iscs.operators.backends.unmatched import UnmatchedBackend

if importlib.util.find_spec("_tkinter") is None and "turtle" not in sys.modules:
    # torch_radon.volumes imports `width` from turtle, needlessly, which fails on servers without Tk
    sys.modules["turtle"] = ModuleType("turtle")
    sys.modules["turtle"].width = None
    import torch_radon

    del sys.modules["turtle"]
else:
    import torch_radon

MAX_VIEWS = 4096


class TorchRadonCone(UnmatchedBackend):
    """torch-radon's projector on CUDA tensors. The adjoint is approximate.

    Lengths are handed over in voxels: torch-radon's back-projector adds half a millimetre where half a voxel is meant.
    Its angles run a quarter turn ahead of ours.

    Raises:
        InputError: for what torch-radon lacks: offsets of the detector or the volume, voxels that are not cubes, more
            than 4,096 views.
    """

    def __init__(self, rays: RayTable) -> None:
        super().__init__(rays)
        geometry = rays.geometry
        for name in ("detector_offset", "volume_offset"):
            if any(getattr(geometry, name)):
                raise InputError(f"{name} is {getattr(geometry, name)} mm, expected 0: backend 'torch-radon' has none")
        voxel = geometry.voxel_spacing[0]
        if not np.allclose(geometry.voxel_spacing, voxel, rtol=1e-5):
            raise InputError(f"voxel_spacing is {geometry.voxel_spacing}, expected cubes for backend 'torch-radon'")
        if len(geometry.angles) > MAX_VIEWS:
            raise InputError(f"angles has {len(geometry.angles)} views, expected up to {MAX_VIEWS} for 'torch-radon'")
        rows, columns = geometry.detector_shape
        volume = torch_radon.volumes.Volume3D(voxel_size=(1.0, 1.0, 1.0))
        volume.set_size(*geometry.volume_shape[::-1])
        self._voxel = voxel
        self._radon = torch_radon.ConeBeam(
            columns,
            np.asarray(geometry.angles, np.float32) + np.float32(np.pi / 2),
            src_dist=geometry.source_to_isocenter / voxel,
            det_dist=(geometry.source_to_detector - geometry.source_to_isocenter) / voxel,
            det_count_v=rows,
            det_spacing_u=geometry.detector_pitch[1] / voxel,
            det_spacing_v=geometry.detector_pitch[0] / voxel,
            volume=volume,
        )

    def project(self, volume: torch.Tensor) -> torch.Tensor:
        return self._voxel * self._radon.forward(volume)

    def backproject(self, projections: torch.Tensor) -> torch.Tensor:
        return self._radon.backward(projections)
