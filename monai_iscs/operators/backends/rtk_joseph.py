# SPDX-License-Identifier: Apache-2.0
"""ITK-RTK's Joseph projector (Apache-2.0)."""

from __future__ import annotations

import itk
import numpy as np
import torch
from itk import RTK

from monai_iscs.operators.backends.scan_forms import RTKScan

_IMAGE = itk.Image[itk.F, 3]


class RTKJoseph:
    """RTK's Joseph pair on the CPU, in float32: equal to ours except for voxels on the volume's border.

    RTK turns about its y axis; our x, y, z are its z, x, y, and its detector's x, y our u, v.
    """

    def __init__(self, scan: RTKScan) -> None:
        self.geometry, self.grid, self._pitch = scan.geometry, scan.grid, scan.pitch
        self._path = RTK.ThreeDCircularProjectionGeometry.New()
        for view in np.stack(list(scan.parameters.values()), 1).tolist():
            self._path.AddProjection(*view)

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        x = volume.detach().to(torch.float32).transpose(-1, -2).contiguous().numpy()
        kind = RTK.JosephForwardProjectionImageFilter[_IMAGE, _IMAGE]
        shape = self.geometry.projection_shape
        y = np.stack([self._run(kind, np.zeros(shape, np.float32), item, False) for item in x])
        return torch.from_numpy(y).to(volume.dtype)

    def adjoint(self, projections: torch.Tensor) -> torch.Tensor:
        y = projections.detach().to(torch.float32).contiguous().numpy()
        kind = RTK.JosephBackProjectionImageFilter[_IMAGE, _IMAGE]
        X, Y, Z = self.grid.shape
        x = np.stack([self._run(kind, np.zeros((X, Z, Y), np.float32), item, True) for item in y])
        return torch.from_numpy(x).transpose(-1, -2).contiguous().to(projections.dtype)

    def _run(self, kind, target: np.ndarray, source: np.ndarray, to_volume: bool) -> np.ndarray:
        # a filter references the C++ image, not the array behind it: keep all of them until the result is copied
        images = [self._image(array, is_volume) for array, is_volume in ((target, to_volume), (source, not to_volume))]
        run = kind.New()
        run.SetInput(0, images[0])
        run.SetInput(1, images[1])
        run.SetGeometry(self._path)
        run.Update()
        return itk.array_from_image(run.GetOutput())

    def _image(self, array: np.ndarray, is_volume: bool):
        """An image about RTK's origin, the middle of the grid and of the detector's parameters."""
        (x, y, z), (v, u) = self.grid.spacing, self._pitch
        steps = (y, z, x) if is_volume else (u, v, 1.0)
        counts = array.shape[::-1] if is_volume else (*array.shape[:0:-1], 1)  # views are numbered from 0
        image = itk.image_view_from_array(array)
        image.SetSpacing(np.abs(steps).tolist())
        image.SetOrigin([-(n - 1) / 2 * step for n, step in zip(counts, steps, strict=True)])
        image.SetDirection(np.diag(np.sign(steps)))
        return image
