# SPDX-License-Identifier: Apache-2.0
"""The ASTRA toolbox's cone-beam projector (GPL-3, not part of this package)."""

from __future__ import annotations

import astra
import numpy as np
import torch

from monai_iscs.errors import InputError
from monai_iscs.operators.backends.rays import AlignedScan
from monai_iscs.operators.backends.unmatched import UnmatchedBackend


class AstraCone(UnmatchedBackend):
    """ASTRA's FP3D_CUDA and BP3D_CUDA, through host memory. The adjoint is approximate.

    ASTRA takes each view's source, detector and pixel steps as vectors, and the volume's borders: any scan is possible.

    Raises:
        InputError: if ASTRA finds no GPU: it has no cone beam on CPUs, and trying it would end the process.
    """

    def __init__(self, scan: AlignedScan) -> None:
        if not astra.use_cuda():
            raise InputError("backend 'astra': found no CUDA device, expected one: ASTRA has no cone beam on CPUs")
        super().__init__(scan)
        geometry, grid = self.geometry, self.grid
        X, Y, Z = grid.shape
        half = np.multiply(grid.shape, grid.spacing) / 2
        borders = np.stack([grid.center - half, grid.center + half], 1)
        self._volume = astra.create_vol_geom(Y, X, Z, *borders.ravel().tolist())
        vectors = np.concatenate([geometry.source, geometry.detector, geometry.u, geometry.v], 1)
        self._detector = astra.create_proj_geom("cone_vec", *geometry.detector_shape, vectors)

    def project(self, volume: torch.Tensor) -> torch.Tensor:
        views, rows, columns = self.geometry.projection_shape
        out = np.zeros((len(volume), rows, views, columns), np.float32)
        for x, y in zip(volume.cpu().numpy(), out, strict=True):
            self._run("FP3D_CUDA", "VolumeDataId", x, y)
        return torch.from_numpy(out).transpose(1, 2).contiguous().to(volume.device)

    def backproject(self, projections: torch.Tensor) -> torch.Tensor:
        out = np.zeros((len(projections), *self.grid.shape[::-1]), np.float32)
        for y, x in zip(projections.transpose(1, 2).contiguous().cpu().numpy(), out, strict=True):
            self._run("BP3D_CUDA", "ReconstructionDataId", x, y)
        return torch.from_numpy(out).to(projections.device)

    def _run(self, algorithm: str, volume_key: str, volume: np.ndarray, projections: np.ndarray) -> None:
        """One algorithm in place: ASTRA reads one array and writes the other."""
        data = [
            astra.data3d.link("-vol", self._volume, volume),
            astra.data3d.link("-proj3d", self._detector, projections),
        ]
        config = astra.astra_dict(algorithm)
        config[volume_key], config["ProjectionDataId"] = data
        run = astra.algorithm.create(config)
        try:
            astra.algorithm.run(run)
        finally:
            astra.algorithm.delete(run)
            astra.data3d.delete(data)
