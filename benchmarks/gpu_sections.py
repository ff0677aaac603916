# SPDX-License-Identifier: Apache-2.0
"""The sections of gpu.py that are no script of their own; each prints its part of the page.

    python benchmarks/gpu_sections.py SECTION [--rehearse]

A check that fails ends with an error after its figures.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import replace
from importlib.metadata import distributions
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import torch
from projector_gpu import measure, milliseconds, relative, write_lines

from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "triton", "monai", "numba", "numpy", "diffct", "astra-toolbox", "torch-radon")
# Tests that need a GPU, of Triton's kernels, and of the command line, which takes a GPU where there is one.
TESTS = (
    *("tests/inferers/test_cuda.py", "tests/sampling/test_noise.py"),
    *("tests/cli/test_reconstruct.py", "tests/operators"),
)
CHOSEN = "triton or cuda or gpu or every_device or contract_of_those_installed or test_reconstruct"
SAME, MATCHED = 2e-6, 1e-6  # most relative difference from numba, and most adjoint mismatch, as in the tests
# Most relative difference of two devices' volumes: ten times what one unit in the last place of the measurement changes
# on a CPU (5e-4), since conjugate gradients amplify rounding.
ROUNDING = 5e-3
LOSS = 0.1  # dB that the device's own precision may cost or give


def answer(*command: str) -> str:
    """The first line that a program prints, or "not known"."""
    try:
        lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return "not known"
    return lines[0].strip() if lines else "not known"


def card(rehearse: bool) -> str:
    return "CPU" if rehearse else torch.cuda.get_device_name()


def environment(rehearse: bool) -> Iterator[str]:
    if not rehearse:
        found = torch.cuda.get_device_properties(0)
        yield f"- GPU: {found.name}, {found.total_memory / 1e9:.1f} GB, {found.multi_processor_count} processors"
        yield f"- Driver: {answer('nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader')}"
        yield f"- cuDNN {torch.backends.cudnn.version()}"
    yield f"- CUDA of torch: {torch.version.cuda}"
    installed = {found.name: found.version for found in distributions()}
    yield f"- {', '.join(f'{name} {installed[name]}' for name in PACKAGES if name in installed)}"
    yield f"- Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores"
    yield f"- C compiler: {answer(os.environ.get('CC', 'gcc'), '--version')}"
    yield f"- Commit: {answer('git', 'rev-parse', '--short', 'HEAD')}"


def tests(rehearse: bool) -> Iterator[str]:
    failed = []
    for path in TESTS:
        if (yield from tested(path)):
            failed.append(path)
    if failed:
        raise SystemExit(f"tests: found failures in {', '.join(failed)}, expected none")


def tested(path: str) -> Generator[str, None, bool]:
    """The lines of a file or folder of tests, and whether something went wrong there."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        words = [path, "-k", CHOSEN, "-v", "--tb=short", "-p", "no:cacheprovider", f"--junitxml={report}"]
        start = time.perf_counter()
        # its lines go to the log, which is kept if the time is used up
        done = subprocess.run([sys.executable, "-m", "pytest", *words], cwd=ROOT, stdout=sys.stderr, check=False)
        cases = list(ElementTree.parse(report).getroot().iter("testcase")) if report.exists() else []
    outcomes: Counter[str] = Counter()
    skips: Counter[str] = Counter()
    failures = []
    for case in cases:
        kinds = {part.tag: part for part in case}
        kind = next((name for name in ("failure", "error", "skipped") if name in kinds), "passed")
        outcomes["failed" if kind in ("failure", "error") else kind] += 1
        if kind == "skipped":
            skips[kinds[kind].get("message", "")] += 1
        elif kind != "passed":
            failures.append((f"{case.get('classname')}.{case.get('name')}", (kinds[kind].text or "").splitlines()[-6:]))
    counts = ", ".join(f"{outcomes[name]} {name}" for name in ("passed", "failed", "skipped"))
    why = "; ".join(f"{count}: {reason}" for reason, count in skips.items())
    yield f"- {path}: {counts}{f' ({why})' if why else ''}, {time.perf_counter() - start:.0f} s"
    for name, lines in failures:
        yield "\n".join([f"\n{name}:\n", "```", *lines, "```"])
    if done.returncode and not failures:
        yield f"- pytest's exit status there: {done.returncode}"
    return done.returncode != 0


def detectors(rehearse: bool) -> tuple[Grid, dict[str, ConeBeamGeometry]]:
    """The scan of projector.py (tiny for a rehearsal) with a flat detector, a curved one, and a shifted focal spot."""
    from projector import scan

    geometry, grid = scan()
    if rehearse:
        grid = Grid.centered((8, 8, 8), (48.0, 48.0, 48.0))
        geometry = ConeBeamGeometry.paper(grid, views=3)
    curved = replace(geometry, curved_about=geometry.source)
    return grid, {
        "flat": geometry,
        "curved": curved,
        "curved, shifted focal spot": replace(curved, source=curved.source + np.array([3.0, -2.0, 1.5])),
    }


def triton(rehearse: bool) -> Iterator[str]:
    from projector import mismatch

    device, repeats = torch.device("cpu" if rehearse else "cuda"), 1 if rehearse else 5
    grid, geometries = detectors(rehearse)
    yield f"{card(rehearse)}, and numba on {os.cpu_count()} CPU cores; medians of {repeats}."
    yield f"{' x '.join(map(str, grid.shape))} voxels, {geometries['flat'].views} views."
    yield f"Expected: at most {SAME:g} from numba and a mismatch of at most {MATCHED:g}.\n"
    yield "| detector | forward from numba | adjoint from numba | adjoint mismatch | s, pair | s, numba's pair |"
    yield "|---|---|---|---|---|---|"
    wrong = []
    for name, geometry in geometries.items():
        numba, A = (ConeBeamProjector(geometry, grid, backend=backend) for backend in ("numba", "triton"))
        generator = torch.Generator().manual_seed(0)
        x, y = (torch.rand(shape, generator=generator) for shape in (A.domain_shape, A.range_shape))
        x_there, y_there = x.to(device), y.to(device)
        found = relative(A(x_there), numba(x)), relative(A.T(y_there), numba.T(y)), mismatch(A, x_there, y_there)
        seconds = [
            sum(milliseconds(job, where, repeats) for job in jobs) / 1000
            for where, jobs in (
                (device, (lambda A=A, x=x_there: A(x), lambda A=A, y=y_there: A.T(y))),
                (torch.device("cpu"), (lambda A=numba, x=x: A(x), lambda A=numba, y=y: A.T(y))),
            )
        ]
        yield f"| {name} | {' | '.join(f'{number:.1e}' for number in found)} | {seconds[0]:.3g} | {seconds[1]:.3g} |"
        if not (max(found[:2]) <= SAME and found[2] <= MATCHED):
            wrong.append(name)
    if wrong:
        raise SystemExit(f"triton: found differences with {'; '.join(wrong)}, expected none beyond these limits")


def pair(rehearse: bool) -> Iterator[str]:
    if not rehearse:
        yield f"{card(rehearse)}; medians of 3 runs, CUDA events.\n"
        return (yield from measure(torch.device("cuda"), 3))
    grid, geometries = detectors(rehearse)
    return (yield from measure(torch.device("cpu"), 1, geometries["flat"], grid, copied=1000))


def reconstruction(rehearse: bool) -> Iterator[str]:
    from monai.transforms import CenterSpatialCrop
    from processes import nudged

    from monai_iscs.metrics import summarise
    from monai_iscs.workflows.bundle import find_bundle
    from monai_iscs.workflows.pipeline import Pipeline

    folder, device = find_bundle("body_ct_reconstruction"), "cpu" if rehearse else "cuda"
    settings = {"recipe": "fast", **({"size": 64, "views": 6, "steps": 2} if rehearse else {})}
    pipelines = {name: Pipeline(folder, device=name, overrides=settings) for name in ("cpu", device)}
    volume = pipelines["cpu"].load(folder / "demo" / "body_ct.nii.gz")
    if rehearse:
        volume = CenterSpatialCrop([-1, -1, 8])(volume)
    measured = pipelines["cpu"].measure(volume)
    full = {"precision": "float32"}
    there = {"slice_batch": 3} if rehearse else {}  # so that the rehearsal's runs differ
    title = card(rehearse) + (", 3 slices at a time" if rehearse else "")
    changed = measured._replace(measurement=nudged(measured.measurement))
    runs = (
        ("CPU, float32", "cpu", measured, full),
        (f"{title}, float32", device, measured, full | there),
        (f"{title}, its own precision", device, measured, there),
        (f"{title}, float32, the measurement changed", device, changed, full),
    )
    yield f"The demo's volume, one measurement, recipe `fast`. Expected: in float32 at most {ROUNDING:g} from the CPU's"
    yield f"(norm of the difference over the norm), in its own precision at most {LOSS:g} dB. For the last row each"
    yield "number of the measurement is changed by one unit in the last place, and the volume is compared with the"
    yield "second: so much does rounding alone change. The first run of each device loads and compiles.\n"
    yield "| run | s | difference | largest, HU | axial dB | coronal dB | sagittal dB |\n|---|---|---|---|---|---|---|"
    volumes, psnrs, distances = [], [], []
    for name, where, data, changes in runs:
        pipeline = pipelines[where]
        sampler = pipeline.sampler(changes=changes)
        start = time.perf_counter()
        volumes.append(pipeline.sample(sampler, data, lambda _: None).volume)
        seconds = time.perf_counter() - start
        scores = summarise(pipeline.shown(volumes[-1], data), volume)
        psnrs.append([scores[view]["psnr"] for view in ("axial", "coronal", "sagittal")])
        expected = volumes[1 if len(volumes) == len(runs) else 0].as_tensor()
        distances.append(relative(volumes[-1].as_tensor(), expected))
        largest = float(pipeline.scaled(volumes[-1].as_tensor() - expected).abs().max())
        cells = [f"{seconds:.2f}", f"{distances[-1]:.1e}", f"{largest:.2g}", *(f"{psnr:.3f}" for psnr in psnrs[-1])]
        yield f"| {name} | {' | '.join(cells)} |"
    if not distances[1] <= ROUNDING:
        raise SystemExit(f"float32: found a difference of {distances[1]:.1e}, expected at most {ROUNDING:g}")
    loss = max(abs(one - other) for one, other in zip(psnrs[0], psnrs[2], strict=True))
    if not loss <= LOSS:
        raise SystemExit(f"own precision: found a PSNR that differs by {loss:.2f} dB, expected at most {LOSS:g}")


SECTIONS = {made.__name__: made for made in (environment, tests, triton, pair, reconstruction)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("section", choices=SECTIONS)
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, tiny")
    arguments = parser.parse_args()
    write_lines(SECTIONS[arguments.section](arguments.rehearse), None)


if __name__ == "__main__":
    main()
