# SPDX-License-Identifier: Apache-2.0
"""The projector backends on a GPU at the paper's size: speed, exactness, and how far from the device's limit they are.

Run it with `python benchmarks/projector.py --device cuda`. Times are medians, by CUDA events around enough calls to
fill 50 ms.
"""

from __future__ import annotations

import math
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector
from monai_iscs.operators.backends.rays import RayTable

PEERS = ("triton", "torch", "diffct", "astra", "torch-radon")
# Instructions of a thread in the inner loops of Triton's kernels, counted in the machine code for compute capability
# 9.0: per sample of the forward projection; per slice and visit of a detector column to a tile of 4 z-columns of the
# adjoint.
FORWARD_INSTRUCTIONS, ADJOINT_INSTRUCTIONS = 39, 54
TILE_COLUMNS = 4
DEFAULT_CLOCK = 1.755e9  # Hz, of an H100 or H200 at work
LONG_ENOUGH = 50.0  # ms between two events, so that the cost of starting and stopping is negligible


def write_lines(lines: Iterable[str], output: Path | None) -> None:
    """Print each line and write it to a file immediately: a killed run keeps what it has measured."""
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text("", encoding="utf-8")
    for line in lines:
        print(line, flush=True)
        if output is not None:
            with output.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")


def reason(error: Exception) -> str:
    """The error as a short text for a table's cell; the traceback goes to the terminal."""
    traceback.print_exception(error)
    first = str(error).strip().split("\n")[0].replace("|", "/")
    return first if isinstance(error, InputError) else f"{type(error).__name__}: {first}"


def paper_scan() -> tuple[ConeBeamGeometry, Grid]:
    """256 x 256 x 300 voxels of 1.5 mm, 30 views, 512 x 512 pixels of 2 mm."""
    grid = Grid.centered((256, 256, 300), (1.5, 1.5, 1.5))
    return ConeBeamGeometry.paper(grid), grid


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.cpu() - expected).double().norm() / expected.double().norm())


def milliseconds(job: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median time of a call, after some calls to compile and warm up."""

    def spent(calls: int) -> float:
        if device.type == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            for _ in range(calls):
                job()
            end.record()
            end.synchronize()
            return begin.elapsed_time(end)
        start = time.perf_counter()
        for _ in range(calls):
            job()
        return 1000 * (time.perf_counter() - start)

    spent(2)
    calls = max(math.ceil(LONG_ENOUGH / max(spent(1), 1e-3)), 1)
    return median(spent(calls) / calls for _ in range(repeats))


def copy_bandwidth(device: torch.device, repeats: int, size: int = 1 << 28) -> float:
    """Bytes per second, read and written, of copying `size` float32 numbers."""
    source = torch.zeros(size, device=device)
    target = torch.empty_like(source)
    return 8e3 * size / milliseconds(lambda: target.copy_(source), device, repeats)


def work(rays: RayTable) -> tuple[float, float]:
    """Samples of the forward projection, and pairs of slice and column visit of the adjoint."""
    X, Y, Z = rays.volume_shape
    rows = np.arange(rays.detector_shape[0])
    samples = crossings = 0
    for view in range(len(rays.axis)):
        for axis, (planes, count) in enumerate(((X, Y), (Y, X))):
            column = np.nonzero(rays.axis[view] == axis)[0]
            lateral, s = (
                table[view, column, :1] + table[view, column, 1:] * np.arange(planes)
                for table in (rays.lateral, rays.reach)
            )
            s = s[(lateral > -1) & (lateral < count)]
            crossings += len(s)
            h0, h1, h2 = rays.height[view]
            # rows k with -1 < h0 + s (h1 + h2 k) < Z
            low, high = (((end - h0) / s - h1) / h2 for end in (-1, Z))
            samples += np.clip(np.ceil(high), 0, len(rows)).sum() - np.clip(np.floor(low) + 1, 0, len(rows)).sum()
    return float(samples), crossings * (1 + 1 / TILE_COLUMNS) * Z


def floor_milliseconds(rays: RayTable, device: torch.device, bandwidth: float) -> dict[str, float]:
    """Lower bounds of each direction: moving volume and projections once, and issuing the inner loops' instructions.

    A processor issues one instruction for 32 lanes in each of its four parts per cycle.
    """
    moved = 4 * (np.prod(rays.volume_shape) + np.prod(rays.geometry.projection_shape))
    floors = {"memory": 1e3 * moved / bandwidth}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        clock = 1e3 * getattr(properties, "clock_rate", DEFAULT_CLOCK / 1e3)
        lanes = 4 * 32 * properties.multi_processor_count * clock
        samples, visits = work(rays)
        floors |= {
            "forward": 1e3 * samples * FORWARD_INSTRUCTIONS / lanes,
            "adjoint": 1e3 * visits * ADJOINT_INSTRUCTIONS / lanes,
        }
    return floors


def peer_row(name: str, scan: tuple[ConeBeamGeometry, Grid], numbers: list[torch.Tensor], device: torch.device, n: int):
    """A peer's row, and the milliseconds of its pair; medians of n runs."""
    x, y = (number.to(device) for number in numbers[:2])
    A = ConeBeamProjector(*scan, backend=name)
    there, back = A(x), A.T(y)
    there_ms, back_ms = milliseconds(lambda: A(x), device, n), milliseconds(lambda: A.T(y), device, n)
    pair = there_ms + back_ms
    mismatch = abs(float((there.double() * y).sum() - (x * back.double()).sum())) / float(
        there.double().norm() * y.double().norm()
    )
    cells = f"{there_ms:.3g} | {back_ms:.3g} | {pair:.3g} | {mismatch:.1e}"
    return f"| {name} | {cells} | {relative(there, numbers[2]):.1e} | {relative(back, numbers[3]):.1e} |", pair


def measure(
    device: torch.device,
    repeats: int,
    geometry: ConeBeamGeometry | None = None,
    grid: Grid | None = None,
    copied: int = 1 << 28,
) -> Iterator[str]:
    """The report's lines, each as soon as it is measured; for the paper's scan unless another is given."""
    if geometry is None or grid is None:
        geometry, grid = paper_scan()
    # before the peers: if one crashes, the device may become unusable
    bandwidth = copy_bandwidth(device, repeats, copied)
    floors = floor_milliseconds(RayTable.of(geometry, grid), device, bandwidth)
    yield f"- Copy bandwidth, read and written: {bandwidth / 1e9:.0f} GB/s"
    yield f"- Moving the volume and the projections once: {floors['memory']:.3g} ms in each direction"
    floor = None
    if "forward" in floors:
        floor = sum(max(floors[way], floors["memory"]) for way in ("forward", "adjoint"))
        yield (
            f"- Issuing the inner loops' instructions: {floors['forward']:.3g} ms forward, {floors['adjoint']:.3g} ms "
            f"adjoint; so the floor of a pair is {floor:.3g} ms"
        )

    print("numba (the reference) ...", file=sys.stderr, flush=True)
    reference = ConeBeamProjector(geometry, grid, backend="numba")
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(shape, generator=generator) for shape in (reference.domain_shape, reference.range_shape))
    numbers = [x, y, reference(x), reference.T(y)]
    sizes = " x ".join(map(str, grid.shape)), " x ".join(map(str, geometry.detector_shape))
    yield ""
    yield f"## One pair: {sizes[0]} voxels, {geometry.views} views, detector {sizes[1]}"
    yield ""
    yield "| | forward ms | adjoint ms | pair ms | adjoint mismatch | forward from numba | adjoint from numba |"
    yield "|---|---|---|---|---|---|---|"
    pairs = {}
    for name in PEERS:
        try:
            row, pairs[name] = peer_row(name, (geometry, grid), numbers, device, repeats)
        except Exception as error:  # the libraries are optional, and some may not run here
            row = f"| {name} | not run: {reason(error)} | | | | | |"
        yield row
    yield ""
    yield "diffct's voxels are constant (Siddon) and ASTRA's and torch-radon's adjoints approximate: they are other"
    yield "operators than numba's on random numbers. ASTRA's times include the way to host memory and back."
    if torch_pair := pairs.pop("torch", None):
        yield ""
        yield from (f"- {name}: {torch_pair / pair:.3g} times as fast as torch" for name, pair in pairs.items())
    if floor is not None and "triton" in pairs:
        yield ""
        yield f"- Triton's pair is {pairs['triton'] / floor:.2f} times its floor"
