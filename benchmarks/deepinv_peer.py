# SPDX-License-Identifier: Apache-2.0
"""DDS and DDS+ISCS against the samplers of deepinv, with the same measurement, operator and prior network.

    pip install deepinv==0.5.0
    python benchmarks/deepinv_peer.py VOLUME... --output FOLDER [--methods ...] [--calls 10 30]
    python benchmarks/deepinv_peer.py VOLUME --output FOLDER --slices 4 --tune

The middle slices of each volume are scanned by the bundle: on the file's own grid, with finer rays than those of the
reconstruction and with its photons. Every result is compared with the file on the file's grid. A finished row of
``table.csv`` is not run again, except those of `--again METHOD`.

deepinv gets our projector as a `LinearPhysics` on whole volumes (1, 1, X, Y, Z), and our network as a denoiser of such
volumes that takes the slices as a batch, mirrors every second call and has no negative values, as in the bundle's
recipes. Its steps towards the measurement are its own `prox_l2`: conjugate gradients from the denoised volume.

- ``diffpir``: `DiffPIR` as it is. It always starts from noise of sigma 79 (of values from 0 to 1).
- ``diffpir-late``: the same loop, helped: from FDK at a chosen sigma, by the last timesteps of its schedule; its result
  is the last denoised volume, because the sample still has noise.
- ``dpir``: `DPIR` as it is, of 8 steps; only its noise level can be chosen.
- ``hqs``: the loop of `DPIR` with any number of steps, sigmas and weight, by `HQS`.

Ours is the bundle's recipe "default", or "fast" for at most 15 calls, with that many steps. Both sides were tuned on
the abdomen hcc-015, the recipes also with more slices.

`--tune` searches one parameter after the other, by the coronal PSNR, and prints every setting; what it has measured is
kept in ``tune.csv``. The table's settings are the constants below. Other samplers of deepinv don't fit: `DDRM` needs
the operator's singular value decomposition, and `DPS` and the posterior SDEs need the network's gradient and up to
1,000 calls. Total variation by `FISTA` takes 2 s a step on a core, mostly for its proximal map; ADMM-TV is ours.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from deepinv_methods import DPIR, HQS, DiffPIR, Scanner, Settings, VolumeDenoiser
from monai.data import MetaTensor
from monai.transforms import CenterSpatialCrop
from torch import Tensor

from monai_iscs.classical import fdk
from monai_iscs.metrics import summarise
from monai_iscs.reports import markdown_table
from monai_iscs.scans.meta import grid_of
from monai_iscs.transforms import regrid
from monai_iscs.workflows.bundle import find_bundle
from monai_iscs.workflows.pipeline import CLASSICAL, Pipeline

BASELINES = ("fdk", "admm-tv")
OURS = ("dds", "dds+iscs")
FAST = 15  # calls: with no more of them our recipe is the bundle's "fast" one
VIEWS = ("axial", "coronal", "sagittal")


# chosen by --tune with --slices 4 on the abdomen hcc-015, and on no other volume; 50 calls with the settings of 30
CHOSEN: dict[str, Sequence[Settings]] = {
    "diffpir": (
        DiffPIR(calls=10, lambda_=7.0, zeta=1.0, iterations=10),
        DiffPIR(calls=30, lambda_=7.0, zeta=1.0, iterations=10),
    ),
    "diffpir-late": (
        DiffPIR(calls=10, lambda_=2.0, zeta=1.0, iterations=10, first=0.2, denoised=True),
        DiffPIR(calls=30, lambda_=2.0, zeta=1.0, iterations=10, first=0.2, denoised=True),
    ),
    "dpir": (DPIR(sigma=0.02, iterations=10),),
    "hqs": (
        HQS(calls=10, last=0.01, iterations=20),
        HQS(calls=30, last=0.005, iterations=5),
        HQS(calls=50, last=0.005, iterations=5),
    ),
}
# what --tune tries, one parameter after the other, from the first setting on
SEARCH: dict[str, tuple[Settings, Sequence[tuple[str, Sequence[Any]]]]] = {
    "hqs-10": (
        HQS(calls=10, iterations=10),
        (
            ("weight", (0.3, 1.0, 15.0)),
            ("last", (0.005, 0.02, 0.04)),
            ("first", (0.1, 0.4)),
            ("iterations", (5, 20)),
            ("start", ("adjoint",)),
        ),
    ),
    "hqs-30": (
        HQS(calls=30, iterations=10),
        (("last", (0.005,)), ("first", (0.4,)), ("iterations", (5, 20)), ("weight", (10.0,))),
    ),
    "dpir": (DPIR(sigma=0.01, iterations=10), (("sigma", (0.005, 0.02)),)),
    "diffpir-10": (
        DiffPIR(calls=10, lambda_=2.0, zeta=1.0, iterations=10),
        (("zeta", (0.3,)), ("lambda_", (7.0, 20.0))),
    ),
    "diffpir-30": (
        DiffPIR(calls=30, lambda_=2.0, zeta=1.0, iterations=10),
        (("zeta", (0.3,)), ("lambda_", (7.0, 20.0))),
    ),
    "diffpir-late-10": (
        DiffPIR(calls=10, first=0.2, iterations=10),
        (
            ("lambda_", (2.0, 0.5, 0.1)),
            ("zeta", (0.0, 0.3, 1.0)),
            ("first", (0.1, 0.4)),
            ("iterations", (5, 20)),
            ("denoised", (True,)),
            ("overstated", (1.67,)),
            ("lambda_", (0.5, 7.0)),
        ),
    ),
    "diffpir-late-30": (
        DiffPIR(calls=30, first=0.2, lambda_=2.0, zeta=1.0, iterations=10, denoised=True),
        (("zeta", (0.5,)), ("first", (0.4,)), ("lambda_", (7.0, 0.5))),
    ),
}


class Bench:
    """One scanned volume, and what methods make of it.

    Args:
        pipeline: the bundle.
        path: of the volume.
        slices: from its middle.
    """

    def __init__(self, pipeline: Pipeline, path: Path, slices: int) -> None:
        self.pipeline, self.name = pipeline, path.name.split("_")[0].removesuffix(".nii.gz")
        self.reference = CenterSpatialCrop([-1, -1, slices])(pipeline.load(path))
        self.measurement = pipeline.measure(self.reference).measurement.to(pipeline.device)
        self.physics = Scanner(self.measurement)
        self.denoiser = VolumeDenoiser(pipeline, self.measurement)

    def check(self) -> None:
        """Print how well the adaptors agree with what they adapt."""
        torch.manual_seed(0)
        x = fdk(self.measurement)[None]
        apart = self.physics.adjointness_test(x)
        batches = self.pipeline.sampler().inferer.hardware.batches(self.pipeline.network, self.pipeline.device)
        with torch.no_grad():
            given = batches(x[0].movedim(3, 0).contiguous(), 0.1).clamp(min=0).movedim(0, 3)
            found = VolumeDenoiser(self.pipeline, self.measurement)(x, torch.tensor(0.1))[0]
        same = float((given - found).abs().max())
        noise = self.measurement.noise_level
        print(f"{self.name}: adjoint {apart:.1e}, denoiser {same:.1e} apart; noise level {noise:.4f}", flush=True)

    def peer(self, settings: Settings) -> dict[str, Any]:
        """The row of a method of deepinv."""
        self.denoiser = VolumeDenoiser(self.pipeline, self.measurement)  # as new
        return self._timed(lambda: settings.run(self.physics, self.denoiser, self.measurement)[0])

    def ours(self, method: str, calls: int) -> dict[str, Any]:
        """The row of our method."""
        self.denoiser.calls = calls
        recipe = "fast" if calls <= FAST else "default"
        sampler = self.pipeline.sampler(changes={"method": method, "steps": calls, "recipe": recipe})

        def run() -> Tensor:
            steps = sampler.inferer.run(self.measurement, self.pipeline.network)
            for _ in steps:
                pass
            return steps.volume

        return self._timed(run)

    def classical(self, method: str) -> dict[str, Any]:
        """The row of a method without a network."""
        self.denoiser.calls = 0
        return self._timed(lambda: CLASSICAL[method](self.measurement))

    def _timed(self, method: Callable[[], Tensor]) -> dict[str, Any]:
        wall, used = time.perf_counter(), time.process_time()
        with torch.no_grad():
            volume = method()
        used, wall = time.process_time() - used, time.perf_counter() - wall
        there = regrid(volume.cpu(), self.measurement.grid, grid_of(self.reference))
        reached = MetaTensor(there, affine=self.reference.affine)
        summary = summarise(reached, self.reference, slice_axis=self.pipeline.slice_axis, lpips=None)
        row = {"calls": self.denoiser.calls}
        row |= {f"{view} dB": summary[view]["psnr"] for view in VIEWS}
        row |= {f"{view} SSIM": summary[view]["ssim"] for view in VIEWS}
        return {**row, "CPU s": used, "wall s": wall}


class Table:
    """Rows of a csv file by their key: what is known is not measured again.

    Args:
        path: of the file.
        keys: columns that make the key.
    """

    def __init__(self, path: Path, keys: Iterable[str]) -> None:
        self.path, self.keys = path, tuple(keys)
        self.rows = []
        if path.exists():
            with path.open(newline="") as file:
                self.rows = [{key: _number(value) for key, value in row.items()} for row in csv.DictReader(file)]

    def find(self, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The row of a key, or None."""
        wanted = [_text(key[name]) for name in self.keys]
        return next((row for row in self.rows if [_text(row[name]) for name in self.keys] == wanted), None)

    def add(self, row: dict[str, Any]) -> None:
        """Write one more row."""
        self.rows.append(row)
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerows(self.rows)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _number(text: str) -> Any:
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        return text or None


def described(settings: Settings) -> str:
    """The settings in one cell."""
    return " ".join(f"{name.rstrip('_')}={_short(value)}" for name, value in asdict(settings).items())


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def tune(bench: Bench, names: Sequence[str], output: Path) -> None:
    """Search each method's settings, one parameter after the other, by the coronal PSNR."""
    table = Table(output / "tune.csv", ["volume", "slices", "search", "settings"])

    def score(name: str, settings: Settings) -> float:
        key = {"volume": bench.name, "slices": bench.reference.shape[3], "search": name}
        key |= {"settings": described(settings)}
        row = table.find(key)
        if row is None:
            row = key | bench.peer(settings)
            table.add(row)
        print(f"{name}: {row['settings']}: {row['coronal dB']:.2f} dB, {row['CPU s']:.0f} s", flush=True)
        return row["coronal dB"]

    for name in names:
        best, parameters = SEARCH[name]
        reached = score(name, best)
        for parameter, values in parameters:
            for value in values:
                settings = replace(best, **{parameter: value})
                if settings == best or (found := score(name, settings)) <= reached:
                    continue
                best, reached = settings, found
        print(f"{name}: chosen {best}: {reached:.2f} dB", flush=True)


def compare(
    benches: Iterable[Bench], methods: Sequence[str], calls: Sequence[int], again: Sequence[str], output: Path
) -> None:
    """Measure the rows that are missing or wanted again, and write the table."""
    table = Table(output / "table.csv", ["volume", "method", "calls", "settings"])
    table.rows = [row for row in table.rows if row["method"] not in again]
    for bench in benches:
        bench.check()
        for method in methods:
            jobs: list[tuple[int, str, Callable[[], dict[str, Any]]]]
            if method in BASELINES:
                jobs = [(0, "", partial(bench.classical, method))]
            elif method in OURS:
                jobs = [(n, "", partial(bench.ours, method, n)) for n in calls]
            else:
                jobs = [(_calls(s), described(s), partial(bench.peer, s)) for s in CHOSEN[method]]
            for count, settings, job in jobs:
                key = {"volume": bench.name, "method": method, "calls": count, "settings": settings}
                if table.find(key) is None:
                    row = job()
                    table.add({**key, **row, "settings": settings})
                    print(table.rows[-1], flush=True)
    order = [*BASELINES, *CHOSEN, *OURS]
    ranked = sorted(table.rows, key=lambda row: (row["volume"], order.index(row["method"]), row["calls"]))
    rows = [{key: value for key, value in row.items() if key != "settings"} for row in ranked]
    (output / "table.md").write_text(markdown_table(rows) + "\n")


def _calls(settings: Settings) -> int:
    return getattr(settings, "calls", 8 if isinstance(settings, DPIR) else 0)


def main() -> None:
    """Tunes, or compares and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("volumes", type=Path, nargs="+", metavar="VOLUME", help="CT in HU")
    parser.add_argument("--output", type=Path, required=True, help="folder of the table")
    parser.add_argument("--bundle", default="body_ct_reconstruction")
    parser.add_argument("--slices", type=int, default=24, help="from the middle of each volume")
    parser.add_argument(
        "--methods", nargs="+", default=[*BASELINES, *CHOSEN, *OURS], choices=[*BASELINES, *CHOSEN, *OURS]
    )
    parser.add_argument("--again", nargs="+", default=[], metavar="METHOD", help="measure its finished rows again")
    parser.add_argument("--calls", type=int, nargs="+", default=[10, 30], help="of the network, in our methods")
    parser.add_argument("--tune", nargs="*", choices=list(SEARCH), help="search the settings, of all or of these")
    arguments = parser.parse_args()
    pipeline = Pipeline(find_bundle(arguments.bundle), overrides={})
    arguments.output.mkdir(parents=True, exist_ok=True)
    benches = (Bench(pipeline, path, arguments.slices) for path in arguments.volumes)
    if arguments.tune is None:
        compare(benches, arguments.methods, arguments.calls, arguments.again, arguments.output)
        return
    for bench in benches:
        bench.check()
        tune(bench, arguments.tune or list(SEARCH), arguments.output)


if __name__ == "__main__":
    main()
