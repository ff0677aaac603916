# SPDX-License-Identifier: Apache-2.0
"""Rays that lie exactly on the border of the grid, through every backend of Joseph's method.

    python benchmarks/border_rays.py [--geometries 2100] [--backends numba torch triton] [--output FILE]

The scans have whole-number sizes, or are the paper's, or have a detector shifted until a ray passes exactly one voxel
beyond the volume, on a plane of voxels. Each array is surrounded by NaN in memory: a read outside it gives NaN in the
result, a write outside it replaces a NaN. Each backend is compared with PyTorch's in float64, whose indices PyTorch
checks, and its adjoint with its forward projection. Without a GPU, Triton runs in its interpreter.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
import torch

if not torch.cuda.is_available():  # read when Triton and the backends are first imported
    os.environ["TRITON_INTERPRET"] = "1"

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.operators.backends import make_backend
from monai_iscs.operators.backends.rays import RayTable
from monai_iscs.operators.vectors import VECTORS

BACKENDS = ("numba", "torch", "triton")
GUARD = 4096  # elements


class Faults(NamedTuple):
    """The errors of one backend on one scan."""

    forward: float
    """Largest difference from PyTorch in float64, as a share of the largest value."""
    adjoint: float
    mismatch: float
    """Difference of <A x, y> and <x, Aᵀ y>, as a share."""
    trespasses: int
    """Elements read or written outside an array."""


class Scan(NamedTuple):
    """A geometry and the grid of its volumes."""

    geometry: ConeBeamGeometry
    grid: Grid


def scans(count: int, seed: int = 0) -> Iterator[Scan]:
    """Small scans with rays on the borders of voxels."""
    random = np.random.default_rng(seed)
    while count:
        try:
            scan = (_paper, _whole, _aimed)[count % 3](random)
            RayTable.of(*scan)
        except InputError:  # the volume would meet the source, or rays are too steep
            continue
        yield scan
        count -= 1


def _paper(random: np.random.Generator) -> Scan:
    side, depth = int(random.choice([2, 4, 5, 6, 8])), int(random.integers(1, 6))
    in_plane, height = float(random.integers(1, 16) * 4), float(random.integers(1, 9) * 4)
    grid = Grid.centered((side, side, depth), (in_plane, in_plane, height))
    geometry = ConeBeamGeometry.paper(grid, views=12)
    few = random.choice(12, 2)
    return Scan(replace(geometry, **{name: getattr(geometry, name)[few] for name in VECTORS}), grid)


def _whole(random: np.random.Generator, **changes: object) -> Scan:
    """Whole millimetres and quarter turns everywhere."""
    isocenter = int(random.choice([60, 80, 100, 120, 200, 400]))
    orbit = {
        "views": int(random.integers(1, 3)),
        "arc": float(random.choice([90.0, 180.0, 360.0])),
        "first_angle": float(random.choice([0, 45, 90, 135, 180, 225, 270])),
        "clockwise": bool(random.integers(2)),
    }
    shape, spacing = tuple(random.integers(1, 9, 3).tolist()), tuple(random.integers(1, 5, 3).tolist())
    geometry = ConeBeamGeometry.circular(
        **(changes or orbit),
        source_to_isocenter=isocenter,
        source_to_detector=isocenter * int(random.integers(2, 4)),
        detector_shape=tuple(random.integers(1, 10, 2).tolist()),
        detector_pitch=tuple(random.integers(1, 13, 2).tolist()),
        detector_offset=tuple((random.integers(-4, 5, 2) / 2).tolist()),
    )
    return Scan(geometry, Grid.centered(shape, spacing, center=(random.integers(-4, 5, 3) / 2).tolist()))


def _aimed(random: np.random.Generator) -> Scan:
    """A detector shifted along u and v so that a ray passes through a point on a plane of voxels, beyond the border."""
    angle = float(random.choice([0.0, 0.3, np.pi / 4, 2.0, np.pi, 4.0]))
    geometry, grid = _whole(random, angles=(angle,))
    point = random.integers(0, grid.shape).astype(np.float64)  # in voxel indices
    across = int(abs(np.sin(angle)) <= abs(np.cos(angle)))
    beyond = (across, 2)[random.integers(2)]
    point[beyond] = random.choice([-1, grid.shape[beyond]])
    point = np.asarray(grid.affine)[:3, 3] + point * grid.spacing
    source, detector, u, v = (vector[0] for vector in (geometry.source, geometry.detector, geometry.u, geometry.v))
    normal = np.cross(u, v)
    shadow = source + (point - source) * ((detector - source) @ normal / ((point - source) @ normal)) - detector
    pixel = random.integers(0, geometry.detector_shape) - (np.array(geometry.detector_shape) - 1) / 2
    shift = sum(step * (shadow @ step / (step @ step) - index) for step, index in zip((v, u), pixel, strict=True))
    return Scan(replace(geometry, detector=detector[None] + shift), grid)


def on_the_border(scan: Scan) -> bool:
    """Whether a ray crosses a plane exactly one voxel beyond the volume, up to rounding."""
    rays = RayTable.of(*scan)
    X, Y, Z = rays.volume_shape
    rows = np.arange(rays.detector_shape[0])
    for axis, (planes, count) in enumerate(((X, Y), (Y, X))):
        picked = rays.axis == axis
        plane = np.arange(planes)
        lateral = rays.lateral[picked][:, :1] + rays.lateral[picked][:, 1:] * plane
        s = rays.reach[picked][:, :1] + rays.reach[picked][:, 1:] * plane
        h0, h1, h2 = rays.height[np.nonzero(picked)[0]].T[..., None, None]
        height = h0 + s[..., None] * (h1 + h2 * rows)
        inside = (lateral > -1.5) & (lateral < count + 0.5)
        near = np.minimum(np.abs(lateral + 1), np.abs(lateral - count))[..., None] < 1e-9
        end = np.minimum(np.abs(height + 1), np.abs(height - Z)) < 1e-9
        if ((near & (height > -1.5) & (height < Z + 0.5)) | (end & inside[..., None])).any():
            return True
    return False


def guarded(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A copy of a tensor, and the longer tensor of NaN that the copy is in the middle of."""
    memory = values.new_full((values.numel() + 2 * GUARD,), torch.nan)
    inside = memory[GUARD : GUARD + values.numel()].view(values.shape)
    return inside.copy_(values), memory


@contextmanager
def guarded_allocations(memories: list[torch.Tensor]) -> Iterator[None]:
    """Inside this context, backends get their float tensors from the middle of longer ones."""
    plain = torch.Tensor.new_empty

    def new_empty(like: torch.Tensor, *shape, **options) -> torch.Tensor:
        made = plain(like, *shape, **options)
        if not made.is_floating_point():
            return made
        inside, memory = guarded(made)
        memories.append(memory)
        return inside

    def new_zeros(like: torch.Tensor, *shape, **options) -> torch.Tensor:
        return new_empty(like, *shape, **options).zero_()

    with mock.patch.multiple(torch.Tensor, new_empty=new_empty, new_zeros=new_zeros):
        yield


def examine(scan: Scan, backend: str, seed: int = 0) -> Faults:
    """Forward and adjoint of one backend, with guards around its inputs and all tensors that it makes."""
    rays = RayTable.of(*scan)
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.rand(1, *shape, generator=generator) for shape in (rays.volume_shape, scan.geometry.projection_shape))
    exact = make_backend("torch", rays)
    expected_y, expected_x = exact.forward(x.double()), exact.adjoint(y.double())
    memories = []
    (volume, before), (measured, after) = guarded(x), guarded(y)
    if backend == "numba":
        found_y, found_x = _numba(rays, volume, measured, memories)
    else:
        device = "cuda" if backend == "triton" and torch.cuda.is_available() else "cpu"
        projector = make_backend(backend, rays)
        with guarded_allocations(memories):
            found_y, found_x = projector.forward(volume.to(device)), projector.adjoint(measured.to(device))
    read = (~found_y.isfinite()).sum() + (~found_x.isfinite()).sum()
    written = sum(int((~m[:GUARD].isnan()).sum() + (~m[-GUARD:].isnan()).sum()) for m in (before, after, *memories))
    found_y, found_x = found_y.cpu().double(), found_x.cpu().double()
    full = min(scan.grid.spacing)  # a ray through a corner crosses much less
    return Faults(
        forward=_difference(found_y, expected_y, full),
        adjoint=_difference(found_x, expected_x, full),
        mismatch=_difference((found_y * y).sum(), (x * found_x).sum(), full),
        trespasses=int(read) + written,
    )


def _numba(rays: RayTable, volume: torch.Tensor, measured: torch.Tensor, memories: list[torch.Tensor]):
    """Numba's kernels on guarded memory; its backend would allocate with NumPy."""
    from monai_iscs.operators.backends import numba_joseph

    (y, memory_y), (x, memory_x) = guarded(torch.zeros_like(measured)), guarded(torch.zeros_like(volume))
    memories += memory_y, memory_x
    table = (rays.axis, rays.lateral, rays.reach, rays.height, rays.path)
    numba_joseph._project(volume[0].numpy(), *table, y[0].numpy())
    numba_joseph._backproject(measured[0].numpy(), *table, x[0].numpy())
    return y, x


def _difference(found: torch.Tensor, expected: torch.Tensor, least: float) -> float:
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(least))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--geometries", type=int, default=2100)
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    parser.add_argument("--output", type=Path, help="markdown file")
    options = parser.parse_args()
    examined = list(scans(options.geometries))
    border = sum(map(on_the_border, examined))
    lines = [
        f"# Rays on the border: {len(examined)} scans, {border} with a ray exactly one voxel beyond the volume",
        "",
        "Largest value over all scans; differences as a share of the largest value of the same scan.",
        "",
        "| backend | forward from float64 | adjoint from float64 | mismatch of the pair | elements outside an array |",
        "|---|---|---|---|---|",
    ]
    for backend in options.backends:
        found = [examine(scan, backend) for scan in examined]
        forward, adjoint, mismatch, _ = np.max(found, axis=0)
        lines.append(
            f"| {backend} | {forward:.1e} | {adjoint:.1e} | {mismatch:.1e} | {sum(f.trespasses for f in found)} |"
        )
        print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    if options.output:
        options.output.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
