# SPDX-License-Identifier: Apache-2.0
"""The shipped CT prior's network: eager float32 in PyTorch's usual order of memory beside every option of the inferer.

    python benchmarks/network.py [--device D] [--slices N] [--size N] [--no-compiled] [--output FILE]

Options take turns, medians are reported, and the share of what large matrix products reach on the same device.
"""

from __future__ import annotations

import argparse
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from monai_iscs.cli.bundle import find_bundle, load_network, read_config
from monai_iscs.inferers import SliceBatches
from monai_iscs.inferers.batches import PRECISIONS, computing_in
from monai_iscs.priors import Denoiser


class Clock:
    """Seconds of what runs on a device, by events that do not hold it up; `seconds` waits for it."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.spans = device, []

    @contextmanager
    def span(self) -> Iterator[None]:
        start = self._now()
        yield
        self.spans.append((start, self._now()))

    def seconds(self) -> float:
        if self.device.type != "cuda":
            return sum(end - start for start, end in self.spans)
        torch.cuda.synchronize(self.device)
        return sum(start.elapsed_time(end) for start, end in self.spans) / 1000

    def _now(self):
        if self.device.type != "cuda":
            return time.process_time()  # of all threads: other load on the machine hardly counts
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def timed(job: Callable[[], object], device: torch.device) -> float:
    clock = Clock(device)
    with clock.span():
        job()
    return clock.seconds()


def take_turns(jobs: dict[str, Callable[[], object]], device: torch.device, repeats: int) -> dict[str, float]:
    """Median seconds of each job."""
    times = {name: [] for name in jobs}
    for turn in range(repeats + 1):
        for name, job in jobs.items():
            seconds = timed(job, device)
            if turn:  # the first one compiles, and fills caches
                times[name].append(seconds)
    return {name: float(np.median(runs)) for name, runs in times.items()}


def describe(device: torch.device, repeats: int) -> str:
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    threads = "" if device.type == "cuda" else f", {torch.get_num_threads()} threads (seconds of all of them)"
    return f"{chip}{threads}; torch {torch.__version__}; `python {shlex.join(sys.argv)}`; medians of {repeats}.\n"


def product(device: torch.device, precision: str) -> tuple[Callable[[], None], int]:
    """A large matrix product, and its number of operations."""
    n = 8192 if device.type == "cuda" else 1024
    a = torch.randn(n, n, device=device, dtype=torch.bfloat16 if precision == "bfloat16" else torch.float32)

    def multiply() -> None:
        with computing_in("float32" if precision == "bfloat16" else precision, device):
            torch.mm(a, a)

    return multiply, 2 * n**3


def operations(prior: Denoiser, stack: Tensor) -> int:
    """Of one call on a stack."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        prior(stack[:1], 0.5)
    return counter.get_total_flops() * len(stack)


@torch.no_grad()
def network_table(prior: Denoiser, stack: Tensor, device: torch.device, repeats: int, *, compiled: bool) -> list[str]:
    """How fast a prior denoises a stack with each option."""
    plain = deepcopy(prior)
    jobs: dict[str, Callable[[], object]] = {}
    best = "bfloat16" if device.type == "cuda" else "float32"
    for precision in ("float32", *(["tf32"] if device.type == "cuda" else []), "bfloat16"):
        jobs[f"{precision}, channels last"] = partial(SliceBatches(prior, device, precision=precision), stack, 0.5)
    if compiled:
        program = SliceBatches(prior, device, precision=best, compiled=True)
        jobs[f"{best}, channels last, compiled"] = partial(program, stack, 0.5)
    batch = 64 if device.type == "cuda" else 8

    def eager() -> None:
        with computing_in("float32", device):
            for part in stack.split(batch):
                plain(part, 0.5)

    products = {name: product(device, name) for name in PRECISIONS if name != "tf32" or device.type == "cuda"}
    seconds = take_turns(
        {"eager float32": eager, **jobs, **{f"product {name}": job for name, (job, _) in products.items()}},
        device,
        repeats,
    )
    flops = operations(prior, stack)
    lines = ["| option | s | GFLOP/s | of a matrix product's | times eager float32 |", "|---|---|---|---|---|"]
    for name in ("eager float32", *jobs):
        precision = next(known for known in PRECISIONS if known in name)
        ceiling = products[precision][1] / seconds[f"product {precision}"]
        rate, gain = flops / seconds[name], seconds["eager float32"] / seconds[name]
        lines.append(f"| {name} | {seconds[name]:.3f} | {rate / 1e9:.0f} | {rate / ceiling:.0%} | {gain:.2f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--slices", type=int, default=16)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-compiled", dest="compiled", action="store_false")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    prior = load_network(read_config(find_bundle("body_ct_reconstruction"), "inference", {}), device)
    stack = torch.rand(arguments.slices, 1, arguments.size, arguments.size, device=device)
    text = "\n".join(
        [
            f"# The shipped CT prior on {arguments.slices} slices of {arguments.size} x {arguments.size}\n",
            describe(device, arguments.repeats),
            *network_table(prior, stack, device, arguments.repeats, compiled=arguments.compiled),
        ]
    )
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
