# SPDX-License-Identifier: Apache-2.0
"""What a reconstruction costs on a CPU, and the least that its multiplications and its memory traffic would cost.

    python benchmarks/cpu_floor.py [--slices 40] [--size 256] [--views 30] [--repeats 5] [--output FILE]

Everything runs in turn; seconds are of all threads together (processor time), medians. The peak is the speed of large
matrix products, and the bandwidth that of copying 256 MB, both measured in the same run. The projector's operations are
four for each sample of a ray (an interpolation along z and its sum) and three for each voxel of the two z-columns that
it interpolates between beforehand; its bytes are those columns, as if no cache held them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from network import describe, operations, product, take_turns
from numba import njit
from projector_gpu import write_lines

from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector
from monai_iscs.operators.backends.numba_joseph import layout, span
from monai_iscs.operators.backends.rays import RayTable
from monai_iscs.precision import choose_precision
from monai_iscs.priors import SliceBatches
from monai_iscs.solvers import Preconditioner
from monai_iscs.workflows.bundle import find_bundle, load_network, read_config

CPU = torch.device("cpu")
WIDTH = 450.0  # mm of a slice
THICKNESS = 2.0  # mm
MAGNIFICATION = 1200 / 700
COPIED = 64 * 2**20  # numbers


@njit
def crossings(axis, lateral, reach, height, rows, shape):
    """How many planes all columns of rays cross inside the volume, and how many samples the rays take there."""
    planes_crossed, samples = 0, 0
    for view in range(axis.shape[0]):
        for u in range(axis.shape[1]):
            planes, count, _, _ = layout(axis[view, u], shape)
            first, last = span(lateral[view, u, 0], lateral[view, u, 1], count, 0, planes)
            for plane in range(first, last):
                s = reach[view, u, 0] + reach[view, u, 1] * plane
                low, high = span(height[view, 0] + s * height[view, 1], s * height[view, 2], shape[2], 0, rows)
                planes_crossed += 1
                samples += max(high - low, 0)
    return planes_crossed, samples


def projector_cost(geometry: ConeBeamGeometry, grid: Grid) -> tuple[float, float]:
    """Operations and bytes of one application, forward or adjoint."""
    rays = RayTable.of(geometry, grid)
    rows = geometry.detector_shape[0]
    planes, samples = crossings(rays.axis, rays.lateral, rays.reach, rays.height, rows, np.array(grid.shape))
    return 4.0 * samples + 3.0 * planes * grid.shape[2], 2 * 4.0 * planes * grid.shape[2]


@torch.no_grad()
def table(slices: int, size: int, views: int, repeats: int) -> Iterator[str]:
    """The costs as a Markdown table."""
    prior = load_network(read_config(find_bundle("body_ct_reconstruction"), "inference", {}), CPU)
    stack = torch.rand(8, 1, size, size)
    grid = Grid.centered((size, size, slices), (WIDTH / size, WIDTH / size, THICKNESS))
    pitch = 1024.0 / (2 * size)
    geometry = ConeBeamGeometry.circular(
        views=views,
        source_to_isocenter=700.0,
        source_to_detector=1200.0,
        detector_shape=(int(np.ceil(slices * THICKNESS * MAGNIFICATION / pitch)), 2 * size),
        detector_pitch=(pitch, pitch),
    )
    A = ConeBeamProjector(geometry, grid)
    x, y = torch.rand(A.domain_shape), torch.rand(A.range_shape)
    M = Preconditioner(A, 2, across=0.65, in_plane=0.0, ramp=0.3)
    source, target = torch.zeros(COPIED), torch.empty(COPIED)
    precisions = ["float32"] + ["bfloat16"] * (choose_precision(None, CPU) == "bfloat16")
    products = {f"matrix product, {name}": product(CPU, name) for name in precisions}
    flops = operations(prior, stack)
    network = {f"network, 8 slices, {name}": SliceBatches(prior, CPU, precision=name) for name in precisions}
    jobs = {name: job for name, (job, _) in products.items()}
    jobs |= {"copy": partial(target.copy_, source)}
    jobs |= {name: partial(batches, stack, 0.1) for name, batches in network.items()}
    jobs |= {"projector A": partial(A, x), "projector Aᵀ": partial(A.T, y), "preconditioner": partial(M, x)}
    seconds = take_turns(jobs, CPU, repeats)
    peaks = {name: count / seconds[name] for name, (_, count) in products.items()}
    bandwidth = 2 * source.nbytes / seconds["copy"]
    count, moved = projector_cost(geometry, grid)
    yield f"Bandwidth of a copy {bandwidth / 1e9:.1f} GB/s.\n"
    yield "| work | s | G operations | GFLOP/s | of the peak | GB | of the bandwidth |"
    yield "|---|---|---|---|---|---|---|"
    for name, peak in peaks.items():
        yield f"| {name} | {seconds[name]:.4f} | {peak * seconds[name] / 1e9:.1f} | {peak / 1e9:.0f} | | | |"
    for name in network:
        peak = peaks[f"matrix product, {name.rsplit(' ', 1)[1]}"]
        rate = flops / seconds[name]
        yield f"| {name} | {seconds[name]:.3f} | {flops / 1e9:.1f} | {rate / 1e9:.0f} | {rate / peak:.0%} | | |"
    for name in ("projector A", "projector Aᵀ"):
        rate, flow = count / seconds[name], moved / seconds[name]
        yield (
            f"| {name} | {seconds[name]:.3f} | {count / 1e9:.2f} | {rate / 1e9:.1f} | "
            f"{rate / peaks['matrix product, float32']:.1%} | {moved / 1e9:.2f} | {flow / bandwidth:.0%} |"
        )
    yield f"| preconditioner | {seconds['preconditioner']:.3f} | | | | | |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=40)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--views", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    head = [
        f"# {arguments.slices} slices of {arguments.size} x {arguments.size}, {arguments.views} views, on a CPU\n",
        describe(CPU, arguments.repeats),
    ]
    costs = table(arguments.slices, arguments.size, arguments.views, arguments.repeats)
    write_lines(chain(head, costs), arguments.output)


if __name__ == "__main__":
    main()
