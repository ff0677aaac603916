# SPDX-License-Identifier: Apache-2.0
"""Speed of the shipped CT prior's network: every option of the inferer against eager float32 in PyTorch's usual layout.

    python benchmarks/network.py [--device D] [--slices N] [--size N] [--batches N ...] [--no-compiled] [--output FILE]

The options run in turn. The table has medians, and each speed as a share of that of large matrix products on the same
device. With `--batches` a second table has each precision with so many slices at a time, not compiled.
"""

from __future__ import annotations

import argparse
import platform
import shlex
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from projector_gpu import reason, write_lines
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from monai_iscs.precision import PRECISIONS, choose_precision, computing_in
from monai_iscs.priors import Denoiser, SliceBatches
from monai_iscs.workflows.bundle import find_bundle, load_network, read_config

K = TypeVar("K", bound=Hashable)


class Clock:
    """Seconds of work on a device, by events that do not delay it; `seconds` waits for its end."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.spans = device, []

    @contextmanager
    def span(self) -> Iterator[None]:
        start = self.now()
        yield
        self.spans.append((start, self.now()))

    def seconds(self) -> float:
        if self.device.type != "cuda":
            return sum(end - start for start, end in self.spans)
        torch.cuda.synchronize(self.device)
        return sum(start.elapsed_time(end) for start, end in self.spans) / 1000

    def now(self):
        """A mark in time; two of them make a span."""
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


def take_turns(jobs: dict[K, Callable[[], object]], device: torch.device, repeats: int) -> dict[K, float]:
    """Median seconds of each job; the first turn fills caches and does not count."""
    times: dict[K, list[float]] = {name: [] for name in jobs}
    for turn in range(repeats + 1):
        for name, job in jobs.items():
            seconds = timed(job, device)
            if turn:
                times[name].append(seconds)
    return {name: float(np.median(runs)) for name, runs in times.items()}


def median(job: Callable[[], object], device: torch.device, repeats: int) -> float:
    return take_turns({"job": job}, device, repeats)["job"]


def passed(start: float, device: torch.device) -> float:
    """Wall-clock seconds since a `time.perf_counter()`, after all work on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def describe(device: torch.device, repeats: int) -> str:
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    threads = "" if device.type == "cuda" else f", {torch.get_num_threads()} threads (seconds of all of them)"
    return f"{chip}{threads}; torch {torch.__version__}; `python {shlex.join(sys.argv)}`; medians of {repeats}.\n"


def product(device: torch.device, precision: str) -> tuple[Callable[[], None], int]:
    """Large matrix products, and their number of operations."""
    n, times = (8192, 10) if device.type == "cuda" else (1024, 1)
    a = torch.randn(n, n, device=device, dtype=torch.bfloat16 if precision == "bfloat16" else torch.float32)

    def multiply() -> None:
        with computing_in("float32" if precision == "bfloat16" else precision, device):
            for _ in range(times):
                torch.mm(a, a)

    return multiply, times * 2 * n**3


def operations(prior: Denoiser, stack: Tensor) -> int:
    """Of one call on a stack."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        prior(stack[:1], 0.5)
    return counter.get_total_flops() * len(stack)


def available(device: torch.device) -> list[str]:
    return [name for name in PRECISIONS if name != "tf32" or device.type == "cuda"]


@torch.no_grad()
def network_table(
    prior: Denoiser, stack: Tensor, device: torch.device, repeats: int, *, compiled: bool
) -> Iterator[str]:
    """How fast a prior denoises a stack with each option."""
    precisions = available(device)
    best = choose_precision(None, device)
    plain, flops = deepcopy(prior), operations(prior, stack)
    batch = 64 if device.type == "cuda" else 8

    def eager() -> None:
        with computing_in("float32", device):
            for part in stack.split(batch):
                plain(part, 0.5)

    jobs: dict[str, Callable[[], object]] = {"eager float32": eager}
    for name in precisions:
        jobs[f"{name}, channels last"] = partial(SliceBatches(prior, device, precision=name), stack, 0.5)
    notes = {}
    if compiled:
        name = f"{best}, channels last, compiled"
        jobs[name] = partial(SliceBatches(prior, device, precision=best, compiled=True), stack, 0.5)
        start = time.perf_counter()
        try:
            for _ in range(3):  # the first call compiles, the second records CUDA's graph
                jobs[name]()
            notes[name] = f" (in {passed(start, device):.0f} s)"
        except Exception as error:  # such as too little memory: the other rows are still measured
            yield f"Not run, {name}: {reason(error)}\n"
            del jobs[name]
    products = {f"matrix product, {name}": product(device, name) for name in precisions}
    seconds = take_turns(jobs | {name: job for name, (job, _) in products.items()}, device, repeats)
    rates = {name: flops / seconds[name] for name in jobs}
    rates |= {name: count / seconds[name] for name, (_, count) in products.items()}
    imitated = rates["matrix product, bfloat16"] < rates["matrix product, float32"]
    yield "| option | s | GFLOP/s | of a matrix product's | times eager float32 |"
    yield "|---|---|---|---|---|"
    for name in products:
        yield f"| {name} | {seconds[name]:.4f} | {rates[name] / 1e9:.0f} | | |"
    for name in jobs:
        precision = next(known for known in PRECISIONS if known in name)
        share = f"{rates[name] / rates[f'matrix product, {precision}']:.0%}"
        share = "" if imitated and precision == "bfloat16" else share
        gain = seconds["eager float32"] / seconds[name]
        title = name + notes.get(name, "")
        yield f"| {title} | {seconds[name]:.3f} | {rates[name] / 1e9:.0f} | {share} | {gain:.2f} |"
    if imitated:
        yield "\nNo share for bfloat16: its matrix product is slower than float32's here, so it is only imitated."


@torch.no_grad()
def batch_table(
    prior: Denoiser, stack: Tensor, device: torch.device, repeats: int, batches: Sequence[int]
) -> Iterator[str]:
    """Milliseconds a slice of each precision, by slices at a time."""
    jobs: dict[tuple[str, int], Callable[[], object]] = {
        (name, batch): partial(SliceBatches(prior, device, precision=name, slice_batch=batch), stack, 0.5)
        for name in available(device)
        for batch in batches
    }
    seconds = take_turns(jobs, device, repeats)
    yield "\n## Milliseconds a slice, by slices at a time\n"
    yield f"| precision | {' | '.join(map(str, batches))} |"
    yield "|---" * (1 + len(batches)) + "|"
    for name in available(device):
        yield f"| {name} | {' | '.join(f'{1000 * seconds[name, batch] / len(stack):.3g}' for batch in batches)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--slices", type=int, default=16)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=(), help="slices at a time, for the second table")
    parser.add_argument("--no-compiled", dest="compiled", action="store_false")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    prior = load_network(read_config(find_bundle("body_ct_reconstruction"), "inference", {}), device)
    stack = torch.rand(arguments.slices, 1, arguments.size, arguments.size, device=device)
    head = [
        f"# The shipped CT prior on {arguments.slices} slices of {arguments.size} x {arguments.size}\n",
        describe(device, arguments.repeats),
    ]
    table = network_table(prior, stack, device, arguments.repeats, compiled=arguments.compiled)
    if arguments.batches:
        table = chain(table, batch_table(prior, stack, device, arguments.repeats, arguments.batches))
    write_lines(chain(head, table), arguments.output)


if __name__ == "__main__":
    main()
