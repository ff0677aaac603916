# SPDX-License-Identifier: Apache-2.0
"""A simulated scan that does not know the grid of the reconstruction."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Generator, Tensor

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector
from monai_iscs.randomness import random_stream
from monai_iscs.scans.projections import Projections

Noise = Callable[[Tensor, Generator], Tensor]
VIEWS = 64  # at a time: a helix has thousands, whose fine rays take several times their pixels' memory
RAYS = 2  # a pixel's side, and about as many a slice where that is more: a pixel measures their mean intensity


def collimated(scan: ConeBeamGeometry, grid: Grid) -> ConeBeamGeometry:
    """The scan with the detector's rows that the slices of a grid need.

    Every view sees the whole of the grid, from its near side to its far one.

    Args:
        scan: a circle about the grid's centre, about its third axis.
        grid: of the volume.

    Raises:
        InputError: a volume that is higher than the detector sees.
    """
    source, detector, pitch, radius = _lengths(scan, grid)
    half = grid.shape[2] * grid.spacing[2] / 2
    rows, columns = scan.detector_shape
    needed = 2 * math.ceil(half * detector / (source - radius) / pitch) if source > radius else math.inf
    if needed > rows:
        most = rows / 2 * pitch * max(source - radius, 0) / detector * 2
        raise InputError(
            f"volume: found {2 * half:.0f} mm from the first to the last slice, expected at most {most:.0f} mm, of "
            "which the detector sees all in every view: crop the volume"
        )
    return replace(scan, detector_shape=(needed, columns))


def slices_beyond(scan: ConeBeamGeometry, grid: Grid) -> int:
    """How many slices further than a grid the rays of a scan cross, on both sides: they spread towards the detector.

    Args:
        scan: a circle or helix about the grid's centre, about its third axis.
        grid: of the volume.
    """
    source, detector, pitch, radius = _lengths(scan, grid)
    travel = float(np.ptp(scan.along(grid).source[:, 2])) / 2
    reach = travel + scan.detector_shape[0] / 2 * pitch * (source + radius) / detector
    return max(math.ceil((reach - grid.shape[2] * grid.spacing[2] / 2) / grid.spacing[2]), 0)


def _lengths(scan: ConeBeamGeometry, grid: Grid) -> tuple[float, float, float, float]:
    """Source to axis, source to detector, row to row, and the volume's half width, mm."""
    local = scan.along(grid)
    middle = grid.straight.center
    radius = max(n * s for n, s in zip(grid.shape[:2], grid.spacing[:2], strict=True)) / 2
    source = float((((local.source - middle)[:, :2]) ** 2).sum(1).mean() ** 0.5)
    detector = float((((local.detector - local.source)[:, :2]) ** 2).sum(1).mean() ** 0.5)
    return source, detector, float(abs(local.v[:, 2]).mean()), radius


def simulate_finely(
    attenuation: Tensor,
    grid: Grid,
    scan: ConeBeamGeometry,
    *,
    beyond: int,
    backend: str,
    noise: Noise | None,
    generator: Generator | None,
) -> Projections:
    """What a scanner would measure of a volume on its own grid, which no reconstruction has to share.

    Each detector pixel measures the mean intensity of 2 × 2 rays, of more where its rows are higher than slices; the
    body goes on beyond the volume's first and last slices as they are, as a patient's does, so that no ray ends in air
    that is not there.

    Args:
        attenuation: per mm, (X, Y, Z).
        grid: of the volume.
        scan: in the grid's frame.
        beyond: slices that the body goes on by on both sides.
        backend: see `ConeBeamProjector`.
        noise: see `measure`.
        generator: see `measure`.
    """
    body = torch.nn.functional.pad(attenuation, (beyond, beyond), mode="replicate")
    rows, columns = scan.detector_shape
    high = max(RAYS, round(RAYS * scan.along(grid).resolution(grid.straight)[2]))
    fine = replace(scan, u=scan.u / RAYS, v=scan.v / high, detector_shape=(high * rows, RAYS * columns))
    longer, means = grid.continued(beyond, beyond), []
    for first in range(0, scan.views, VIEWS):
        lines = ConeBeamProjector(fine.part(first, first + VIEWS), longer, backend=backend)(body)
        means.append(-torch.nn.functional.avg_pool2d(torch.exp(-lines), (high, RAYS)).log())
    clean = torch.cat(means)
    if noise is not None:
        generator = random_stream(0, "measurement") if generator is None else generator
        clean = noise(clean.cpu(), generator).to(clean)
    return Projections(data=clean, geometry=scan)
