# SPDX-License-Identifier: Apache-2.0
"""Time and memory of a reconstruction, now and at another commit of this repository.

    python benchmarks/against_commit.py COMMIT [--repeats 3] [--steps 8] [--old-method "--method dds+iscs"]
        [--new-method "--method dds+iscs"] [--output FILE]

checks COMMIT out into a temporary git worktree and reconstructs the demo's volume with the old and the new tree in
turn, so that other load on the machine affects both trees. Each run is a process of its own, with its tree's bundle. A
first run of each tree, of one step, compiles the kernels and is not counted. The table has the median and all runs:
wall-clock seconds of the sampler, processor seconds of the whole process, and its peak memory. A commit whose command
line is different needs its own options: `--old-method "--method dds --noise slerp"`.

`python benchmarks/against_commit.py db50eed` on a 2-core Intel Xeon, no GPU, both cores busy with other work:

| median (all runs) | old | new | new / old |
|---|---|---|---|
| sampler, s | 37.7 (44.9 / 30.7 / 37.7) | 38.1 (34.1 / 38.1 / 48.3) | 1.011 |
| processor, s | 70.4 (72.5 / 64.5 / 70.4) | 70.6 (64.6 / 70.6 / 72.2) | 1.003 |
| peak memory, MB | 1,500.8 (1,500.8 / 1,504.9 / 1,499.2) | 1,511.6 (1,468.2 / 1,511.6 / 1,518.5) | 1.007 |

Largest difference between the volumes: 0.11 HU
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import nibabel as nib
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = Path("bundles") / "body_ct_reconstruction"
VOLUME = ROOT / BUNDLE / "demo" / "body_ct.nii.gz"


class Spent(NamedTuple):
    """What a run took; its fields are the table's rows."""

    sampler: float
    processor: float
    memory: float


ROWS = Spent("sampler, s", "processor, s", "peak memory, MB")


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """A worktree of a commit, which is removed at the end, also after an error."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        try:
            if subprocess.run([*git("worktree", "add", "--quiet", "--detach"), tree, commit], check=False).returncode:
                raise SystemExit(f"{commit}: cannot be checked out")
            yield tree
        finally:
            if tree.exists():
                subprocess.run([*git("worktree", "remove", "--force"), tree], check=False)


def git(*arguments: str) -> list[str]:
    return ["git", "-C", str(ROOT), *arguments]


def run(tree: Path, method: str, steps: int, output: Path) -> Spent:
    """Reconstructs with a tree's package and bundle, in a process of its own.

    Raises:
        SystemExit: it failed.
    """
    command = [sys.executable, "-m", "monai_iscs", "reconstruct", VOLUME, "--bundle", tree / BUNDLE]
    command += [*shlex.split(method), "--steps", str(steps), "--device", "cpu", "--output", output]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(tree)},
        cwd=output.parent,  # not a tree: `-m` looks there first
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{shlex.join(map(str, command))}\n{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    record = json.loads((output / "run.json").read_text())
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(record["seconds"]["reconstructing"], processor, record["peak_memory_mb"])


def difference(one: Path, other: Path) -> float:
    """The largest difference between two volumes, HU."""
    volumes = (nib.load(folder / "reconstruction.nii.gz").get_fdata() for folder in (one, other))
    return float(np.abs(np.subtract(*volumes)).max())


def report(found: dict[str, list[Spent]], largest: float) -> Iterator[str]:
    yield "| median (all runs) | old | new | new / old |"
    yield "|---|---|---|---|"
    for row, old, new in zip(ROWS, *(zip(*runs, strict=True) for runs in found.values()), strict=True):
        cells = (f"{median(runs):,.1f} ({' / '.join(f'{value:,.1f}' for value in runs)})" for runs in (old, new))
        yield f"| {row} | {' | '.join(cells)} | {median(new) / median(old):.3f} |"
    yield f"\nLargest difference between the volumes: {largest:.2g} HU"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--old-method", default="--method dds+iscs", help="options of `reconstruct`, as one word")
    parser.add_argument("--new-method", default="--method dds+iscs", help="options of `reconstruct`, as one word")
    parser.add_argument("--output", type=Path, help="markdown file")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the worktree is removed then too
    with checked_out(options.commit) as old, tempfile.TemporaryDirectory() as folder:
        trees = {"old": (old, options.old_method), "new": (ROOT, options.new_method)}
        outputs = {name: Path(folder) / name for name in trees}
        found: dict[str, list[Spent]] = {name: [] for name in trees}
        for name, (tree, method) in trees.items():
            run(tree, method, 1, outputs[name])
        for _ in range(options.repeats):
            for name, (tree, method) in trees.items():
                found[name].append(run(tree, method, options.steps, outputs[name]))
                print(f"{name}: {', '.join(f'{value:.1f}' for value in found[name][-1])}", flush=True)
        text = "\n".join(report(found, difference(*outputs.values()))) + "\n"
    if options.output:
        options.output.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
