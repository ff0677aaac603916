# SPDX-License-Identifier: Apache-2.0
"""Speed, exactness and memory of the cone-beam projector, and of ITK-RTK's Joseph pair if that is installed.

    python benchmarks/projector.py [--device cpu|cuda] [--threads N] [--repeats N] [--output FILE]

If there is a CUDA device it is measured (projector_gpu.py), else the processor. On the processor all peers use the same
number of threads and run in turn, so that other load on the machine affects all of them equally; medians are reported.
ITK-RTK (1.6 GB) is optional: `pip install itk-rtk`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import distributions, version
from itertools import chain
from pathlib import Path

import numba
import numpy as np
import projector_gpu
import torch
from phantoms import Ellipsoid, line_integrals, sample_rays, voxelise
from projector_gpu import relative, write_lines

from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector

HAS_RTK = any(found.name == "itk-rtk" for found in distributions())
PHANTOM = [
    Ellipsoid(center=(5.0, -8.0, 3.0), semi_axes=(150.0, 110.0, 140.0), turn=0.4),
    Ellipsoid(center=(40.0, 30.0, -20.0), semi_axes=(50.0, 36.0, 60.0), turn=-0.7, value=-0.6),
    Ellipsoid(center=(-60.0, 0.0, 40.0), semi_axes=(30.0, 44.0, 24.0), value=0.9),
]


def scan(*, views: int = 30, shape: tuple[int, int, int] = (128, 128, 128)) -> tuple[ConeBeamGeometry, Grid]:
    """128 x 128 voxels of 3 mm; the paper's distances; a detector of 256 x 256 pixels of 4 mm."""
    grid = Grid.centered(shape, (3.0, 3.0, 3.0))
    return ConeBeamGeometry.paper(grid, views=views), grid


def take_turns(jobs: dict[str, Callable[[], object]], repeats: int) -> dict[str, tuple[float, float]]:
    """Median wall and processor seconds of each job."""
    for job in jobs.values():
        job()  # compiles
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            job()
            times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {name: tuple(np.median(runs, axis=0)) for name, runs in times.items()}


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """b of the fit seconds = a · size^b."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def mismatch(A: ConeBeamProjector, x: torch.Tensor, y: torch.Tensor) -> float:
    """|<A x, y> - <x, Aᵀ y>| / (|A x| |y|) in float64."""
    Ax, Aty = A(x).double(), A.T(y).double()
    return float(abs((Ax * y).sum() - (x * Aty).sum()) / (Ax.norm() * y.double().norm()))


def peak_memory(backend: str, adjoint: bool, threads: int) -> float:
    """MB that one application adds to a new process, input included, after a small one has compiled everything."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_memory, (backend, adjoint, threads))


def _peak_memory(backend: str, adjoint: bool, threads: int) -> float:
    torch.set_num_threads(threads)
    numba.set_num_threads(threads)
    for geometry, grid in (scan(views=2, shape=(8, 8, 8)), scan()):
        A = ConeBeamProjector(geometry, grid, backend=backend)
        A = A.T if adjoint else A
        Path("/proc/self/clear_refs").write_text("5")  # reset the peak, which the imports have raised
        before = _memory("VmRSS")
        A(torch.rand(A.domain_shape))
    return _memory("VmHWM") - before


def _memory(field: str) -> float:
    """MB, from Linux's status of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:"))


def measure(threads: int, repeats: int) -> list[str]:
    geometry, grid = scan()
    numba_A, torch_A = (ConeBeamProjector(geometry, grid, backend=name) for name in ("numba", "torch"))
    curved_A = ConeBeamProjector(replace(geometry, curved_about=geometry.source), grid, backend="numba")
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(numba_A.domain_shape, generator=generator), torch.rand(numba_A.range_shape, generator=generator)

    print("speed ...", flush=True)
    jobs = {
        "numba forward": lambda: numba_A(x),
        "numba adjoint": lambda: numba_A.T(y),
        "curved forward": lambda: curved_A(x),
        "curved adjoint": lambda: curved_A.T(y),
        "torch forward": lambda: torch_A(x),
        "torch adjoint": lambda: torch_A.T(y),
    }
    if HAS_RTK:
        import itk

        itk.MultiThreaderBase.SetGlobalMaximumNumberOfThreads(threads)
        itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(threads)
        rtk_A = ConeBeamProjector(geometry, grid, backend="rtk")
        jobs |= {"RTK forward": lambda: rtk_A(x), "RTK adjoint": lambda: rtk_A.T(y)}
    else:
        print("itk-rtk is not installed, so it is left out: pip install itk-rtk (1.6 GB)", flush=True)
    seconds = take_turns(jobs, repeats)
    lines = [
        "## Speed: 128³ voxels of 3 mm, 30 views, detector 256² at 4 mm",
        "",
        "Seconds and ratios to numba: wall (processor; other load on the machine does not count). Curved: numba,",
        "with the detector bent about the source.",
        "",
        "| | forward s | adjoint s | forward / numba | adjoint / numba |",
        "|---|---|---|---|---|",
    ]
    for peer in dict.fromkeys(name.split()[0] for name in jobs):
        cells = []
        for unit, digits in (([1.0, 1.0], 3), (None, 2)):
            for way in ("forward", "adjoint"):
                wall, cpu = np.divide(seconds[f"{peer} {way}"], unit or seconds[f"numba {way}"])
                cells.append(f"{wall:.{digits}f} ({cpu:.{digits}f})")
        lines.append(f"| {peer} | {' | '.join(cells)} |")
    if not HAS_RTK:
        lines.append("| RTK | not installed | | | |")

    print("exactness ...", flush=True)
    few = scan(views=2)
    volume, exact = voxelise(PHANTOM, grid, oversampling=2), line_integrals(PHANTOM, few[0])
    floor = relative(sample_rays(volume, *few, step=1.5), exact)
    errors = {name: relative(ConeBeamProjector(*few, backend=name)(volume), exact) for name in ("numba", "torch")}
    # without the outermost voxels: ITK-RTK treats the border differently
    inner = torch.nn.functional.pad(x[1:-1, 1:-1, 1:-1], (1,) * 6)
    expected = numba_A(inner), numba_A.T(y)[1:-1, 1:-1, 1:-1]

    def distance(there: torch.Tensor, back: torch.Tensor) -> str:
        return f"{relative(there, expected[0]):.1e} / {relative(back[1:-1, 1:-1, 1:-1], expected[1]):.1e}"

    lines += [
        "",
        "## Exactness",
        "",
        "| | adjoint mismatch | error on ellipsoids (2 views) | over the floor | from numba inside |",
        "|---|---|---|---|---|",
        f"| brute-force trilinear sampling every 1.5 mm (the floor) | | {floor:.5f} | 1 | |",
    ]
    for name, A in (("numba", numba_A), ("torch", torch_A)):
        cells = f"{mismatch(A, x, y):.1e} | {errors[name]:.5f} | {errors[name] / floor:.3f}"
        lines.append(f"| {name} | {cells} | {distance(A(inner), A.T(y))} |")
    if HAS_RTK:
        error = relative(ConeBeamProjector(*few, backend="rtk")(volume), exact)
        cells = f"{mismatch(rtk_A, x, y):.1e} | {error:.5f} | {error / floor:.3f}"
        lines.append(f"| RTK | {cells} | {distance(rtk_A(inner), rtk_A.T(y))} |")

    print("scaling ...", flush=True)
    lines += ["", "## Cost of numba: seconds ~ size^b (processor seconds)", "", "| | sizes | forward b | adjoint b |"]
    lines.append("|---|---|---|---|")
    for axis, sizes in (("views", [10, 20, 40, 80]), ("slices", [16, 32, 64, 128])):
        jobs = {}
        for size in sizes:
            sizes_of = {"views": size} if axis == "views" else {"shape": (128, 128, size)}
            A = ConeBeamProjector(*scan(**sizes_of), backend="numba")
            volume, measurement = torch.rand(A.domain_shape), torch.rand(A.range_shape)
            jobs[f"forward {size}"] = lambda A=A, volume=volume: A(volume)
            jobs[f"adjoint {size}"] = lambda A=A, measurement=measurement: A.T(measurement)
        cpu = {name: pair[1] for name, pair in take_turns(jobs, repeats).items()}
        b = [exponent(sizes, [cpu[f"{way} {size}"] for size in sizes]) for way in ("forward", "adjoint")]
        lines.append(f"| {axis} | {', '.join(map(str, sizes))} | {b[0]:.2f} | {b[1]:.2f} |")

    print("memory ...", flush=True)
    size = {name: 4 * np.prod(shape) / 2**20 for name, shape in (("x", x.shape), ("y", y.shape))}
    lines += [
        "",
        "Below 1 in slices: finding and fetching the z-columns of a crossing costs the same whatever their length.",
        "",
        f"## Peak memory of one application (volume {size['x']:.1f} MB, projections {size['y']:.1f} MB, both included)",
        "",
        "| | forward MB | adjoint MB |",
        "|---|---|---|",
    ]
    for name in ("numba", "torch"):
        lines.append(f"| {name} | {peak_memory(name, False, threads):.0f} | {peak_memory(name, True, threads):.0f} |")
    return lines


def processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
    return names[0] if names else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="of every peer on the CPU (default 1)")
    parser.add_argument("--repeats", type=int, default=9, help="rounds of which the median is taken (default 9)")
    parser.add_argument(
        "--output", type=Path, help="default: results/projector.md or projector_gpu.md beside this file"
    )
    args = parser.parse_args()

    load = os.getloadavg()[0]
    wanted = ["torch", "numba", "numpy"]
    if args.device == "cuda":
        lines = projector_gpu.measure(torch.device("cuda"), args.repeats)
        wanted += ["triton", "diffct", "astra-toolbox", "torch-radon"]
        machine = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
        rule = f"- Medians of {args.repeats} runs, CUDA events"
    else:
        torch.set_num_threads(args.threads)
        numba.set_num_threads(args.threads)
        lines = measure(args.threads, args.repeats)
        wanted += ["itk", "itk-rtk"] if HAS_RTK else []
        machine = (
            f"{processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}; "
            f"load average {load:.1f} before the run"
        )
        rule = f"- Threads: {args.threads} for every peer; medians of {args.repeats} interleaved rounds"
    installed = {found.name for found in distributions()}
    packages = ", ".join(f"{name} {version(name)}" for name in wanted if name in installed)
    head = [
        "# The cone-beam projector, measured",
        "",
        f"- Command: `python {shlex.join(sys.argv)}`",
        f"- Machine: {machine}",
        rule,
        f"- Python {platform.python_version()}, {packages}",
        "",
    ]
    name = "projector.md" if args.device == "cpu" else "projector_gpu.md"
    output = args.output or Path(__file__).parent / "results" / name
    write_lines(chain(head, lines), output)


if __name__ == "__main__":
    main()
