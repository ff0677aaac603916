# SPDX-License-Identifier: Apache-2.0
"""Memory of long helices in slabs, against their length, and what their seams look like.

    python benchmarks/long_scan.py memory --output FOLDER [--lengths 100 200 400] [--part 4] [--pixels 128] [--slabs 2]
    python benchmarks/long_scan.py seams --output FOLDER [--length 400] [--slab 100] [--pixels 64] [--step 4] [--part 8]

The scanner: 64 rows of 736 columns on a cylinder about the focus, 0.6 x 0.7 mm at the isocentre, source to isocentre
595 mm, to the detector 1,085.6 mm; a turn is 23 mm of travel and, here, 96 views. `--part N` makes N x N of its pixels
one. The body: an elliptic cylinder of water with ellipsoids of lung and bone in it, projected in closed form, written
as DICOM-CT-PD, with 2e5 photons a ray.

`memory` reconstructs LENGTH mm of it at 2 mm slices in slabs of 60 mm (`--slab`), each length in a process of its own,
and prints the largest resident memory that the system counted. All iterations are cut to one and the sampler to one
step, which takes nothing from the memory; it stops after some slabs, the rest is the same. `seams` reconstructs it
completely, in slabs and at once, and compares the mean difference of neighbouring slices at the seams with that inside.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from phantoms import Ellipsoid, line_integrals

from monai_iscs import ConeBeamGeometry, Projections, write_ct_pd
from monai_iscs.cli import main as command
from monai_iscs.reports.record import peak_memory_mb
from monai_iscs.workflows.bundle import find_bundle
from monai_iscs.workflows.pipeline import Pipeline
from monai_iscs.workflows.slabs import load_scan

BUNDLE, WIDTH, STEP, SLAB = "body_ct_reconstruction", 450.0, 2.0, 60.0
FEED, AROUND, PHOTONS, WATER = 23.0, 96, 2e5, 0.02
RUN_IN = 60.0  # mm of travel before the wanted volume and after it


def body(length: float) -> list[Ellipsoid]:
    """A trunk that is as long as the scan and longer."""
    random = np.random.default_rng(0)
    parts = [Ellipsoid((0, 0, 0), (190, 140, 20 * length), value=WATER)]
    for _ in range(int(length / 8)):
        place = (*random.uniform(-90, 90, 2) * [1, 0.7], random.uniform(-length / 2 - 50, length / 2 + 50))
        sizes = tuple(random.uniform(8, 30, 3))
        parts.append(Ellipsoid(place, sizes, value=WATER * random.choice([-0.25, -0.1, 0.08, 0.2])))
    return parts


def write_series(folder: Path, length: float, part: int) -> Path:
    """A helix along z over the length."""
    if folder.is_dir():
        return folder
    angles = 2 * np.pi * np.arange(int((length + 2 * RUN_IN) / FEED * AROUND)) / AROUND
    circle = ConeBeamGeometry.circular(
        source_to_isocenter=595,
        source_to_detector=1085.6,
        angles=angles,
        detector_shape=(64 // part, 736 // part),
        detector_pitch=(1.0947 * part, 1.2858 * part),
    )
    up = FEED * ((angles - angles.mean()) / (2 * np.pi))[:, None] * [0, 0, 1]
    helix = replace(circle, source=circle.source + up, detector=circle.detector + up)
    helix = replace(helix, curved_about=helix.source)
    random, parts = torch.Generator().manual_seed(0), body(length)
    views = []
    for first in range(0, helix.views, AROUND):
        exact = line_integrals(parts, helix.chosen(np.arange(first, min(first + AROUND, helix.views))))
        counts = torch.poisson(PHOTONS * torch.exp(-exact), generator=random)
        views.append(-torch.log(counts.clamp(min=1) / PHOTONS))
    return write_ct_pd(Projections(data=torch.cat(views), geometry=helix), folder, views_a_turn=AROUND)


def peak(series: Path, length: float, pixels: int, slabs: int) -> None:
    """Print the memory of this process, which reconstructs some slabs."""
    places = ("classical.sirt", "sampling.conjugate_gradient", "scans.unexplained")
    least_squares, gradients, unexplained = (import_module(f"monai_iscs.{place}") for place in places)
    unexplained.ITERATIONS = 1
    least_squares.SIRT = partial(least_squares.SIRT, iterations=1)
    solve = gradients.conjugate_gradient
    gradients.conjugate_gradient = lambda *given, **settings: solve(*given, **{**settings, "iterations": 1})
    wanted = {"shape": [pixels, pixels, round(length / STEP)], "center": [0, 0, 0], "slab": SLAB, "steps": 1}
    wanted["spacing"] = [WIDTH / pixels, WIDTH / pixels, STEP]
    pipeline = Pipeline(find_bundle(BUNDLE), device="cpu", overrides=wanted, over=["measured"])
    before = peak_memory_mb()
    scan = load_scan(pipeline, series, real=True)
    scan.measure(pipeline.sampler(), print)
    count, views = scan.parts, [len(slab.views) for slab in scan.plan.slabs]
    scan.parts = min(slabs, count)
    scan.reconstruct(lambda _: None)
    found = {
        "length": length,
        "slabs": count,
        "done": scan.parts,
        "views": len(scan.files.views),
        "of_a_slab": max(views),
    }
    print(
        json.dumps({**found, "rays_of_a_view": scan.volume[0, 0].numel(), "before_mb": before, "mb": peak_memory_mb()})
    )


def memory(arguments: argparse.Namespace) -> None:
    """Measure each length in its own process."""
    print("| length, mm | views | rays of a view | slabs (done) | views of a slab | MB before | largest MB |")
    print("|---|---|---|---|---|---|---|")
    for length in arguments.lengths:
        series = write_series(arguments.output / f"series_{length:g}_{arguments.part}", length, arguments.part)
        given = [
            "peak",
            "--series",
            series,
            "--length",
            length,
            "--pixels",
            arguments.pixels,
            "--slabs",
            arguments.slabs,
        ]
        ran = subprocess.run(
            [sys.executable, __file__, *map(str, given)], stdout=subprocess.PIPE, check=True, text=True
        )
        found = json.loads(ran.stdout.splitlines()[-1])
        cells = (f"{found['slabs']} ({found['done']})", found["of_a_slab"], found["before_mb"], found["mb"])
        row = (found["length"], found["views"], found["rays_of_a_view"], *cells)
        print(
            f"| {' | '.join(f'{cell:,.0f}' if isinstance(cell, int | float) else cell for cell in row)} |", flush=True
        )


def seams(arguments: argparse.Namespace) -> None:
    """Compare slabs with one run."""
    length, part, pixels, step = arguments.length, arguments.part, arguments.pixels, arguments.step
    series = write_series(arguments.output / f"series_{length:g}_{part}", length, part)
    shape, spacing = (pixels, pixels, round(length / step)), (WIDTH / pixels, WIDTH / pixels, step)
    options = ["--shape", *shape, "--spacing", *spacing, "--center", 0, 0, 0, "--method", arguments.method]
    volumes = {}
    for slab in (arguments.slab, 10 * length):
        folder = arguments.output / f"{arguments.method}_{slab:g}"
        given = ["reconstruct", series, "--bundle", BUNDLE, "--output", folder, *options, "--slab", slab]
        assert command(list(map(str, given))) == 0
        volumes[slab] = nib.load(folder / "reconstruction.nii.gz").get_fdata()
    slabs, once = (np.abs(np.diff(volume, axis=2)).mean((0, 1)) for volume in volumes.values())
    count = int(np.ceil(length / arguments.slab))
    at = np.arange(1, shape[2])[:, None] - np.linspace(0, shape[2], count + 1)[1:-1]
    seam = (np.abs(at) <= 3).any(1)  # slices: where they are blended
    print(f"mean slice difference, HU: {slabs[seam].mean():.3f} at seams, {slabs[~seam].mean():.3f} inside; in one run")
    print(f"{once[seam].mean():.3f} and {once[~seam].mean():.3f}; slabs over one run, at seams and inside:")
    print(f"{(slabs / once)[seam].mean():.4f} and {(slabs / once)[~seam].mean():.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, part, pixels in (("memory", 4, 128), ("seams", 8, 64), ("peak", 4, 128)):
        verb = verbs.add_parser(name)
        verb.add_argument("--output", type=Path)
        verb.add_argument("--length", type=float, default=400.0)
        verb.add_argument("--lengths", type=float, nargs="+", default=[100.0, 200.0, 400.0])
        verb.add_argument("--part", type=int, default=part)
        verb.add_argument("--pixels", type=int, default=pixels)
        verb.add_argument("--step", type=float, default=4.0, help="seams: mm from slice to slice")
        verb.add_argument("--slabs", type=int, default=2)
        verb.add_argument("--slab", type=float, default=100.0)
        verb.add_argument("--method", default="dds+iscs")
        verb.add_argument("--series", type=Path)
    arguments = parser.parse_args()
    if arguments.verb == "peak":
        peak(arguments.series, arguments.length, arguments.pixels, arguments.slabs)
    else:
        arguments.output.mkdir(parents=True, exist_ok=True)
        {"memory": memory, "seams": seams}[arguments.verb](arguments)


if __name__ == "__main__":
    main()
