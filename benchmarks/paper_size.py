# SPDX-License-Identifier: Apache-2.0
"""A whole reconstruction at the paper's size: time, memory, growth, and what lower precision and fewer steps cost.

    python benchmarks/paper_size.py [--sections network loop growth precision] [--shape 256 256 300] [--views 30]
        [--steps 30] [--loops compiled fast eager peer] [--memory GB] [--output FILE]

The network is NCSN++ with random weights: times do not depend on them. The peer is an eager loop like the released
code: float32 (with TF32 on GPUs, PyTorch's default for convolutions), 15 slices at a time, noise taken from a path of
16 maps a slice. The loss from lower precision and from fewer steps is measured with the shipped CT prior on the demo's
volume. Each line is printed and written as soon as it is measured. On a CPU give a small `--shape` and `--channels`.
"""

from __future__ import annotations

import argparse
import gc
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from network import Clock, describe, median, network_table, operations, passed, timed
from projector import exponent
from projector_gpu import milliseconds, reason, write_lines
from torch import Tensor, nn

from monai_iscs import (
    ConeBeamGeometry,
    ConeBeamProjector,
    Grid,
    Hardware,
    NCSNpp,
    ScoreDenoiser,
    SliceBatches,
    SliceDiffusionInferer,
)
from monai_iscs.precision import choose_precision
from monai_iscs.priors.batches import CPU_BATCH, MOST, MOST_PIXELS
from monai_iscs.sampling import RELEASED, Canvas, Recipe, SliceNoise, State
from monai_iscs.workflows.bundle import find_bundle
from monai_iscs.workflows.device import choose_device, limit_memory
from monai_iscs.workflows.recipes import load_recipe

BUNDLE = "body_ct_reconstruction"
SECTIONS = ("network", "loop", "growth", "precision")
LOOPS = ("compiled", "fast", "eager", "peer")
UNIT = 0.052  # attenuation per mm of the prior's value 1
FIELD = 384.0  # mm in the plane, as the paper's 256 voxels of 1.5 mm
FITS = 1.05  # largest exponent that counts as linear
SLICES, VIEWS = (32, 64, 128, 256, 512), (15, 30, 60, 120)  # the growth is fitted to these
PEER_BATCH = 15
RECORDED = 3  # calls of a compiled network that are not timed: the first compiles, the second records CUDA's graph


@dataclass(frozen=True)
class SixteenfoldSlerp(SliceNoise):
    """Slerp as in the released code: a path of 16 maps for each slice, one of which is used."""

    label = "16-fold Slerp"

    def stack(self, canvas: Canvas, sigma: float) -> Tensor:
        first, second = (canvas.send(canvas.draw()) for _ in range(2))
        angle = torch.arccos(torch.nn.functional.cosine_similarity(first.flatten(), second.flatten(), dim=0))
        shares = torch.linspace(0, 1, 16 * canvas.shape[0], device=first.device)
        path = [
            (torch.sin((1 - share) * angle) * first + torch.sin(share * angle) * second) / torch.sin(angle)
            for share in shares
        ]
        return torch.stack(path)[8::16]


class Peer:
    """A copy of a prior in PyTorch's usual memory layout, on 15 slices at a time however many it gets."""

    def __init__(self, prior: nn.Module) -> None:
        self.network = deepcopy(prior).to(memory_format=torch.contiguous_format)
        self.size_divisor = prior.size_divisor

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        return torch.cat([self.network(part, sigma) for part in x.split(PEER_BATCH)])


def scanner(shape: tuple[int, ...], views: int):
    grid = Grid.centered(shape, (FIELD / max(shape[:2]),) * 3)
    return UNIT * ConeBeamProjector(ConeBeamGeometry.paper(grid, views=views), grid)


def body(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """A box of water in air, (1, 1, X, Y, Z)."""
    volume = torch.zeros(1, 1, *shape, device=device)
    volume[..., shape[0] // 4 : -shape[0] // 4, shape[1] // 4 : -shape[1] // 4, :] = 0.4
    return volume


def whole(
    prior,
    operator,
    y,
    *,
    recipe: Recipe = RELEASED,
    steps: int | None = None,
    callback: Callable[[State], None] | None = None,
    **hardware,
) -> Tensor:
    inferer = SliceDiffusionInferer(
        recipe.changed(steps=steps), scan=operator, hardware=Hardware(**hardware), progress=False, callback=callback
    )
    return inferer(y, prior)


@contextmanager
def watched(device: torch.device) -> Iterator[tuple[Clock, list[int]]]:
    """Times and slices of an inferer's network calls; measured from outside, because a CUDA graph runs no hooks."""
    clock, sizes, plain = Clock(device), [], SliceBatches._denoise

    def denoise(self: SliceBatches, part: Tensor, sigma: float, size: int) -> Tensor:
        with clock.span():
            x0 = plain(self, part, sigma, size)
        sizes.append(size)
        return x0

    SliceBatches._denoise = denoise
    try:
        yield clock, sizes
    finally:
        SliceBatches._denoise = plain


class Spent(NamedTuple):
    """A loop's cost: seconds of the warm-up, of all, of the network; slices at a time; peak bytes."""

    warm_up: float
    total: float
    network: float
    batch: int
    allocated: float
    reserved: float


def tidy(device: torch.device) -> None:
    """Free unused memory and reset the peaks."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def spent(job: Callable[..., object], steps: int, made: int, device: torch.device, repeats: int, calls: int) -> Spent:
    """The cost of `steps` steps of a loop, from `made` of them, after a warm-up of at least `calls` network calls.

    Steps that are not made are counted with the mean of those after the first.
    """
    start = time.perf_counter()
    with watched(device) as (_, sizes):
        while len(sizes) < calls:
            job(steps=1)
    warm_up, batch, seconds, peaks = passed(start, device), sizes[-1], [], (math.nan, math.nan)
    for _ in range(repeats):
        tidy(device)
        each, marks = Clock(device), []

        def mark(_: State, each: Clock = each, marks: list = marks) -> None:
            marks.append(each.now())

        with watched(device) as (network, _):
            # the warm-up's batch size: another one would be compiled again
            total = timed(partial(job, steps=made, slice_batch=batch, callback=mark), device)
        each.spans = list(pairwise(marks))
        missing = each.seconds() / (made - 1) * (steps - made) if made < steps else 0.0
        seconds.append((total + missing, network.seconds() * steps / made))
        if device.type == "cuda":
            peaks = torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)
    return Spent(warm_up, *map(float, np.median(seconds, axis=0)), batch, *peaks)


class PaperSize:
    """The measurements; each section yields the report's lines."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments, self.device = arguments, choose_device(arguments.device)
        self.shape, self.views, self.repeats = tuple(arguments.shape), arguments.views, arguments.repeats
        self.cuda = self.device.type == "cuda"
        self.compile = self.cuda if arguments.compile is None else arguments.compile
        if arguments.memory is not None:
            limit_memory(self.device, arguments.memory)

    @cached_property
    def prior(self) -> ScoreDenoiser:
        torch.manual_seed(0)
        return ScoreDenoiser(NCSNpp(self.arguments.channels)).to(self.device).eval().requires_grad_(False)

    def report(self) -> Iterator[str]:
        limit = "" if self.arguments.memory is None else f", in {self.arguments.memory:g} GB"
        yield f"# A reconstruction of {' x '.join(map(str, self.shape))} voxels from {self.views} views{limit}\n"
        yield describe(self.device, self.repeats)
        failed = []
        for section in (name for name in SECTIONS if name in self.arguments.sections):
            start = time.perf_counter()
            try:
                yield from getattr(self, section)()
            except Exception as error:  # the other sections are still measured
                failed.append(section)
                yield f"\nnot finished: {reason(error)}"
            yield f"\n(Section {section}: {passed(start, self.device):.0f} s.)\n"
        if failed:
            raise SystemExit(f"not finished: {', '.join(failed)}")

    def network(self) -> Iterator[str]:
        # the loop's batch size: the loop then needs no other compilation
        most, slices = CPU_BATCH, self.shape[2]
        if self.cuda:
            most = max(min(MOST, MOST_PIXELS // math.prod(self.shape[:2])), 1)
        stack = torch.rand(math.ceil(slices / math.ceil(slices / most)), 1, *self.shape[:2], device=self.device)
        flops = operations(self.prior, stack) / len(stack) / 1e12
        yield f"## The network on {len(stack)} slices\n\n{flops:.3g} TFLOP a slice, {flops * slices:.3g} a step.\n"
        yield from network_table(self.prior, stack, self.device, self.repeats, compiled=self.compile)

    def loop(self) -> Iterator[str]:
        steps, repeats, slices = self.arguments.steps, self.arguments.loop_repeats, self.shape[2]
        few = min(max(self.arguments.peer_steps, 2), steps)
        operator = scanner(self.shape, self.views)
        y = operator(body(self.shape, self.device))
        weights = sum(p.numel() * p.element_size() for p in self.prior.parameters()) / 1e9
        flops = operations(self.prior, torch.rand(1, 1, *self.shape[:2], device=self.device)) * slices
        yield f"## From the measurement to the volume, medians of {repeats}\n"
        yield f"Weights: {weights:.3f} GB; one stack: {4e-9 * math.prod(self.shape):.3f} GB. A CUDA graph's activations"
        yield "are in the reserved memory only. The warm-up is one step (more if it has one batch): it compiles.\n"
        head = ["loop", "steps", "warm-up s", "s", "s a step", "of which network", "network's GFLOP/s"]
        head += ["slices at a time", "allocated GB", "reserved GB"]
        yield f"| {' | '.join(head)} |\n{'|---' * len(head)}|"
        totals = {}
        # Compiled loops first: their figures matter most, and their graphs' memory can be freed afterwards.
        for name in (name for name in LOOPS if name in self.arguments.loops):
            compiled = self.compile and name in ("compiled", "fast")
            if name == "compiled" and not compiled:
                continue
            if not compiled:
                torch.compiler.reset()
                tidy(self.device)
            prior, made, title, settings = self.prior, steps, f"ours, {name}", {"compiled": compiled}
            if name == "fast":
                title = f"ours, recipe fast, {'' if compiled else 'not '}compiled"
                settings["recipe"] = load_recipe(BUNDLE, "fast")
                made = settings["recipe"].sigmas.steps
            elif name == "eager":
                title = "ours, not compiled"
            elif name == "peer":
                prior, made, title = Peer(self.prior), few, "eager float32, 15 slices, 16-fold Slerp"
                title += f" ({few} steps made, scaled to {steps})" if few < steps else ""
                peers = replace(RELEASED, noise=SixteenfoldSlerp())
                settings = {"recipe": peers, "precision": "tf32" if self.cuda else "float32"}
                settings["slice_batch"] = slices
            wanted = steps if name == "peer" else made
            job = partial(whole, prior, operator, y, **settings)
            try:
                found = spent(job, wanted, made, self.device, repeats, RECORDED if compiled else 1)
            except Exception as error:  # such as too little memory: the other loops are still measured
                yield f"| {title} | {wanted} | not run: {reason(error)} |{' |' * (len(head) - 3)}"
                continue
            totals[name] = found.total
            cells = [title, wanted, f"{found.warm_up:.1f}", f"{found.total:.2f}", f"{found.total / wanted:.2f}"]
            cells += [f"{found.network / found.total:.1%}", f"{flops * wanted / found.network / 1e9:.0f}"]
            cells += [min(PEER_BATCH, slices) if name == "peer" else found.batch]
            cells += [f"{peak / 1e9:.2f}" if self.cuda else "" for peak in (found.allocated, found.reserved)]
            yield f"| {' | '.join(map(str, cells))} |"
        if peer := totals.pop("peer", None):
            yield ""
            yield from (
                f"- {name}: {peer / total:.1f} times as fast as the eager peer" for name, total in totals.items()
            )

    def growth(self) -> Iterator[str]:
        repeats = min(self.repeats, 2)
        yield f"## Growth, medians of {repeats}: one step, not compiled, and the projector's normal operator\n"
        yield "| | | s | s of each |\n|---|---|---|---|"

        def step(size: int) -> float:
            shape = (*self.shape[:2], size)
            part = scanner(shape, self.views)
            y = part(body(shape, self.device))
            return median(partial(whole, self.prior, part, y, steps=1), self.device, repeats)

        def normal(count: int) -> float:
            part, image = scanner(self.shape, count), body(self.shape, self.device)[0]
            job = partial(part.normal, image)
            if self.cuda:
                return milliseconds(job, self.device, repeats) / 1000
            return median(job, self.device, repeats)

        found = []
        for name, of, measure in (("slices", SLICES, step), ("views", VIEWS, normal)):
            seconds = []
            for size in of:
                seconds.append(measure(size))
                yield f"| {size} | {name} | {seconds[-1]:.4g} | {seconds[-1] / size:.3g} |"
            ends = exponent(of, seconds), exponent(of[-3:], seconds[-3:])
            found.append(
                f"- {name}: size to the power of {ends[0]:.3f}; from {of[-3]} on, where fixed costs count less, "
                f"{ends[1]:.3f}{'' if ends[1] <= FITS else ' (not linear)'}"
            )
        yield ""
        yield from found

    def precision(self) -> Iterator[str]:
        """PSNR on the demo's volume with the shipped prior in each precision, and with the recipe of fewer steps."""
        from monai_iscs.methods import parse_method
        from monai_iscs.metrics import summarise
        from monai_iscs.workflows.pipeline import Pipeline

        steps, best = self.arguments.quality_steps, choose_precision(None, self.device)
        folder = find_bundle(BUNDLE)
        pipeline = Pipeline(folder, device=str(self.device), overrides={})
        measured = pipeline.measure(pipeline.load(next((folder / "demo").glob("*.nii.gz"))))
        yield "## What lower precision and fewer steps cost: the shipped prior on the demo's volume\n"
        yield "| recipe | steps | precision | axial dB | coronal dB | sagittal dB | dB against the first |"
        yield "|---|---|---|---|---|---|---|"
        runs = [("default", steps, name) for name in ("float32", *(["tf32"] if self.cuda else []), "bfloat16")]
        runs.append(("fast", min(load_recipe(BUNDLE, "fast").sigmas.steps, steps), best))
        first = None
        for recipe, made, name in runs:
            sampler = pipeline.sampler(
                parse_method("dds+iscs"), changes={"recipe": recipe, "steps": made, "precision": name}
            )
            result = pipeline.sample(sampler, measured, lambda _: None).volume
            scores = summarise(result, measured.reference, slice_axis=2)
            cells = [f"{scores[view]['psnr']:.3f}" for view in ("axial", "coronal", "sagittal")]
            first = result if first is None else first
            against = "" if first is result else f"{-10 * np.log10(float((result - first).square().mean())):.1f}"
            yield f"| {recipe} | {made} | {name} | {' | '.join(cells)} | {against} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--device", help="default: a GPU if there is one")
    parser.add_argument("--memory", type=float, metavar="GB", help="most GPU memory to use")
    parser.add_argument("--shape", type=int, nargs=3, default=(256, 256, 300))
    parser.add_argument("--views", type=int, default=30)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--loops", nargs="+", choices=LOOPS, default=LOOPS)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, help="default: on a GPU")
    parser.add_argument("--peer-steps", type=int, default=3, help="steps of the peer that are run, at least 2")
    parser.add_argument("--channels", type=int, nargs=4, default=(128, 256, 256, 256), help="of NCSN++")
    parser.add_argument("--quality-steps", type=int, default=30, help="most steps with the shipped prior")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--loop-repeats", type=int, default=1)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    write_lines(PaperSize(arguments).report(), arguments.output)


if __name__ == "__main__":
    main()
