# SPDX-License-Identifier: Apache-2.0
"""How many volumes an hour one process reconstructs, and two that take the next one in turn.

    python benchmarks/many_volumes.py VOLUME --output FOLDER [--volumes 8] [--slices 8] [--processes 2]

Cuts VOLUME into as many small ones and reconstructs them by `reconstruct FOLDER`, once in one process and once by
`torchrun` with `--processes-per-volume 1`; each process has one thread. Both times include the start of the processes,
which for small volumes is a large part of it: `--volumes 32` tells more of a long run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


def cut(volume: Path, folder: Path, count: int, slices: int) -> None:
    """Write small volumes: neighbouring slices of one."""
    folder.mkdir(parents=True, exist_ok=True)
    image = nib.load(volume)
    whole = image.shape[2] - slices
    for number in range(count):
        first = round(number * whole / max(count - 1, 1))
        nib.save(image.slicer[:, :, first : first + slices], folder / f"part_{number:02d}.nii.gz")


def seconds(inputs: Path, output: Path, processes: int, options: list[str]) -> float:
    """How long it takes."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [*(launch if processes > 1 else []), "-m", "monai_iscs", "reconstruct", str(inputs)]
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, *command, "--output", str(output), *options],
        env={**os.environ, **ONE_THREAD, "CUDA_VISIBLE_DEVICES": ""},
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("volume", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--volumes", type=int, default=8)
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    options = ["--bundle", "body_ct_reconstruction", "--device", "cpu", "--recipe", "fast"]
    cut(arguments.volume, arguments.output / "volumes", arguments.volumes, arguments.slices)
    taken = {
        count: seconds(arguments.output / "volumes", arguments.output / f"by_{count}", count, options)
        for count in (1, arguments.processes)
    }
    for count, whole in taken.items():
        print(f"{count} process(es): {whole:.1f} s, {3600 * arguments.volumes / whole:.0f} volumes an hour")
    print(f"ratio: {taken[1] / taken[arguments.processes]:.2f}")


if __name__ == "__main__":
    main()
