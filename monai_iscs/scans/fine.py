# SPDX-License-Identifier: Apache-2.0
"""A simulated scan that does not know the grid of the reconstruction."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Generator, Tensor

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector
from monai_iscs.randomness import random_stream
from monai_iscs.scans.projections import Projections

Noise = Callable[[Tensor, Generator], Tensor]
RAYS = 2  # a pixel's side, and about as many a slice where that is more: a pixel measures their mean intensity


def collimated(scan: ConeBeamGeometry, grid: Grid) -> tuple[ConeBeamGeometry, int]:
    """The scan with the detector's rows that the slices of a grid need, and how many slices further the rays cross.

    Every view sees the whole of the grid, from its near side to its far one; in between the rays spread.

    Args:
        scan: a circle about the grid's centre, about its third axis.
        grid: of the volume.

    Raises:
        InputError: a volume that is higher than the detector sees.
    """
    local = scan.along(grid)
    middle = grid.straight.center
    radius = max(n * s for n, s in zip(grid.shape[:2], grid.spacing[:2], strict=True)) / 2
    source = float((((local.source - middle)[:, :2]) ** 2).sum(1).mean() ** 0.5)
    detector = float((((local.detector - local.source)[:, :2]) ** 2).sum(1).mean() ** 0.5)
    pitch = float(abs(local.v[:, 2]).mean())
    half = grid.shape[2] * grid.spacing[2] / 2
    rows, columns = scan.detector_shape
    needed = 2 * math.ceil(half * detector / (source - radius) / pitch) if source > radius else math.inf
    if needed > rows:
        most = rows / 2 * pitch * max(source - radius, 0) / detector * 2
        raise InputError(
            f"volume: found {2 * half:.0f} mm from the first to the last slice, expected at most {most:.0f} mm, of "
            "which the detector sees all in every view: crop the volume"
        )
    reach = needed / 2 * pitch * (source + radius) / detector
    return replace(scan, detector_shape=(needed, columns)), math.ceil((reach - half) / grid.spacing[2])


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
    lines = ConeBeamProjector(fine, grid.continued(beyond, beyond), backend=backend)(body)
    clean = -torch.nn.functional.avg_pool2d(torch.exp(-lines), (high, RAYS)).log()
    if noise is not None:
        generator = random_stream(0, "measurement") if generator is None else generator
        clean = noise(clean.cpu(), generator).to(clean)
    return Projections(data=clean, geometry=scan)
