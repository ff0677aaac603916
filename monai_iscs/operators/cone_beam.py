# SPDX-License-Identifier: Apache-2.0
"""The cone-beam projector."""

from __future__ import annotations

from dataclasses import replace

import torch

from monai_iscs.errors import expect
from monai_iscs.grid import Grid
from monai_iscs.operators.backends import (
    Backend,
    align_scan,
    check_backend,
    choose_backend,
    is_matched,
    make_backend,
)
from monai_iscs.operators.circle import off_circle
from monai_iscs.operators.geometry import ConeBeamGeometry
from monai_iscs.operators.linear_operator import LinearOperator, MeasuredImages


class ConeBeamProjector(LinearOperator):
    """Line integrals of a volume along the rays of a cone-beam scan (Joseph 1982), with their exact transpose.

    A ray is sampled at each plane of voxels across the axis it advances fastest on, by bilinear interpolation, and the
    sum is multiplied by its path length between planes in mm. A volume in 1/mm gives dimensionless projections. Volumes
    are (..., X, Y, Z), projections (..., view, v, u).

    A ray is a line, a detector's row is not: where rows are higher than slices, a single ray a row would pass by some
    slices. With `row_rays` a pixel is the mean of as many rays, one above the other.

    Args:
        geometry: the scan.
        grid: of the volumes, in the same frame; its axes may be turned, but for our backends the detector must stand
            upright on its x-y plane.
        backend: "numba" (CPU tensors, float32), "triton" (CUDA tensors, float32), "torch" (any device, float32 or
            float64), or "auto": the fastest one of these for the tensor's device. Projectors of other projects, which
            are installed separately and only used when named: "diffct" (CPU or CUDA, Apache-2.0), "rtk" (CPU,
            Apache-2.0), "astra" (CUDA, GPL-3), "torch-radon" (CUDA, GPL-3). The adjoints of the last two are
            approximate: their `matched` is False, and conjugate gradients refuse them. docs/architecture.md has a
            table of the scans that each of them takes.
        row_rays: rays across the height of a pixel, see `rays_of_rows`. The time and the memory of an application
            grow with them.

    Raises:
        InputError: if the backend is unknown, isn't installed, can't do the scan (a tilted detector, a volume that
            meets the source, rays steeper than 45°, pixels of several sizes, no circle or helix where it needs one) or
            does not run on a tensor's device, or if a tensor's shape does not fit.
    """

    def __init__(self, geometry: ConeBeamGeometry, grid: Grid, *, backend: str = "auto", row_rays: int = 1) -> None:
        whole = isinstance(row_rays, int) and not isinstance(row_rays, bool)
        expect(whole and row_rays >= 1, "row_rays", row_rays, "a whole number of at least 1")
        self.geometry, self.grid, self.row_rays = geometry, grid, row_rays
        self.backend = check_backend(backend)
        self.matched = is_matched(backend)
        self.domain_shape = grid.shape
        self.range_shape = geometry.projection_shape
        self.resolution = geometry.resolution(grid)
        local = geometry.along(grid)
        around = local.is_upright and off_circle(local, grid.straight.center) is None
        self.orbit_plane = dict(enumerate(grid.spacing[:2])) if around else None
        self.images = MeasuredImages(axes=(-2, -1), even_noise=False)
        rows, columns = geometry.detector_shape
        rays = replace(geometry, v=geometry.v / row_rays, detector_shape=(rows * row_rays, columns))
        self._scan = align_scan(backend, rays, grid)
        self._made: dict[str, Backend] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rays = self._on(x.device).forward(x)
        return rays if self.row_rays == 1 else rays.unflatten(-2, (-1, self.row_rays)).mean(-2)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        rays = y if self.row_rays == 1 else y.repeat_interleave(self.row_rays, -2) / self.row_rays
        return self._on(y.device).adjoint(rays)

    def rows(self, start: int, stop: int) -> ConeBeamProjector:
        """The projector of some of the views."""
        part = self.geometry.part(start, stop)
        return ConeBeamProjector(part, self.grid, backend=self.backend, row_rays=self.row_rays)

    def _on(self, device: torch.device) -> Backend:
        if device.type not in self._made:
            self._made[device.type] = make_backend(choose_backend(self.backend, device), self._scan)
        return self._made[device.type]


def rays_of_rows(geometry: ConeBeamGeometry, grid: Grid) -> int:
    """How many rays a row of the detector needs to pass by no slice of a grid: one for each slice that it covers."""
    return max(1, round(geometry.resolution(grid)[2]))
