# SPDX-License-Identifier: Apache-2.0
"""A whole reconstruction at the paper's size: time, memory, growth and what reduced precision costs, in one run.

    python benchmarks/paper_size.py [--device cuda] [--shape 256 256 300] [--views 30] [--steps 30] [--output FILE]

The network is NCSN++ with random weights: times do not depend on them. The peer is an eager loop in the manner of the
released code: float32 (with TF32 on GPUs, PyTorch's default for convolutions), 15 slices at a time, noise taken from a
path of 16 maps a slice. All take turns in one run;
medians are reported, by CUDA events on a GPU. The cost of precision is measured with the shipped CT prior on the demo's
volume. On a CPU give a small `--shape` and `--channels`.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import torch
from network import Clock, describe, network_table, operations, take_turns, timed
from projector import exponent
from torch import Tensor, nn

from monai_iscs import ConeBeamGeometry, ConeBeamProjector, NCSNpp, ScoreDenoiser, SlerpNoise, SliceDiffusionInferer
from monai_iscs.sampling import SliceNoise

UNIT = 0.052  # attenuation of the prior's unit, per mm
SPACING = (1.5, 1.5, 1.5)  # mm
FITS = 1.05  # largest exponent that counts as linear
PEER_BATCH = 15


def median(job: Callable[[], object], device: torch.device, repeats: int) -> float:
    return take_turns({"job": job}, device, repeats)["job"]


class SixteenfoldSlerp(SliceNoise):
    """Slerp as in the released code: a path of 16 maps for each slice, of which one is used."""

    def __call__(self, like: Tensor, sigma: float) -> Tensor:
        first, second = (self._draw(*like.shape[1:]).to(like) for _ in range(2))
        angle = torch.arccos(torch.nn.functional.cosine_similarity(first.flatten(), second.flatten(), dim=0))
        shares = torch.linspace(0, 1, 16 * len(like), device=like.device)
        path = [
            (torch.sin((1 - share) * angle) * first + torch.sin(share * angle) * second) / torch.sin(angle)
            for share in shares
        ]
        return torch.stack(path)[8::16]


def scanner(shape: tuple[int, ...], views: int):
    return UNIT * ConeBeamProjector(ConeBeamGeometry.paper(shape, SPACING, views=views))


def body(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """A box of water in air, (1, 1, X, Y, Z)."""
    volume = torch.zeros(1, 1, *shape, device=device)
    volume[..., shape[0] // 4 : -shape[0] // 4, shape[1] // 4 : -shape[1] // 4, :] = 0.4
    return volume


class Peer:
    """A prior of its own, in PyTorch's usual order of memory, on 15 slices at a time whatever it is called with."""

    def __init__(self, prior: nn.Module) -> None:
        self.network = deepcopy(prior).to(memory_format=torch.contiguous_format)

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        return torch.cat([self.network(part, sigma) for part in x.split(PEER_BATCH)])


def whole(prior, operator, y, *, steps: int, noise=SlerpNoise, **settings) -> Tensor:
    inferer = SliceDiffusionInferer.from_preset(
        "released", steps=steps, operator=operator, noise=noise, progress=False, **settings
    )
    return inferer(y, prior)


def network_part(prior: nn.Module, job: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Seconds of a job, and of its calls of the network."""
    clock, open_spans = Clock(device), []

    def before(*_: object) -> None:
        span = clock.span()
        span.__enter__()
        open_spans.append(span)

    def after(*_: object) -> None:
        open_spans.pop().__exit__(None, None, None)

    hooks = [prior.register_forward_pre_hook(before), prior.register_forward_hook(after)]
    total = timed(job, device)
    for hook in hooks:
        hook.remove()
    return total, clock.seconds()


def precision_cost(device: torch.device, steps: int) -> list[str]:
    """PSNR of the demo's volume by the shipped prior in each precision, and against float32."""
    from monai_iscs.cli.bundle import find_bundle
    from monai_iscs.cli.pipeline import Pipeline
    from monai_iscs.metrics import summarise

    folder = find_bundle("body_ct_reconstruction")
    pipeline = Pipeline(folder, device=str(device), overrides={"steps": steps})
    volume = pipeline.load(next((folder / "demo").glob("*.nii.gz")))
    measurement, reference = pipeline.measure(volume)
    results = {}
    for precision in ("float32", *(["tf32"] if device.type == "cuda" else []), "bfloat16"):
        inferer = pipeline.sampler("dds", "slerp", changes={"precision": precision})
        results[precision] = pipeline.sample(inferer, measurement, lambda _: None)
    lines = ["| precision | axial dB | coronal dB | dB against float32 |", "|---|---|---|---|"]
    for name, result in results.items():
        found = summarise(result, reference, slice_axis=2)
        error = float((result - results["float32"]).square().mean())
        against = "" if name == "float32" else f"{-10 * np.log10(error):.1f}"
        lines.append(f"| {name} | {found['axial']['psnr']:.3f} | {found['coronal']['psnr']:.3f} | {against} |")
    return lines


def report(arguments: argparse.Namespace) -> Iterator[str]:
    device, shape, repeats = torch.device(arguments.device), tuple(arguments.shape), arguments.repeats
    cuda = device.type == "cuda"
    yield f"# A reconstruction of {' x '.join(map(str, shape))} voxels from {arguments.views} views\n"
    yield describe(device, repeats)
    torch.manual_seed(0)
    prior = ScoreDenoiser(NCSNpp(arguments.channels)).to(device).eval().requires_grad_(False)
    operator = scanner(shape, arguments.views)
    y = operator(body(shape, device))
    slices, stack = shape[2], torch.rand(shape[2], 1, *shape[:2], device=device)
    yield f"## The network\n\n{operations(prior, stack) / 1e12:.1f} TFLOP a step.\n"
    yield from network_table(prior, stack, device, repeats, compiled=cuda)

    yield f"\n## From the measurement to the volume, {arguments.steps} steps\n"
    yield "| loop | s | of which network | peak memory, GB |\n|---|---|---|---|"
    peer = Peer(prior)
    loops = {
        "ours": (prior, partial(whole, prior, operator, y, steps=arguments.steps)),
        "ours, half the steps": (prior, partial(whole, prior, operator, y, steps=max(arguments.steps // 2, 1))),
        "eager float32, 15 slices, 16-fold Slerp": (
            peer.network,
            partial(
                whole,
                peer,
                operator,
                y,
                steps=arguments.steps,
                noise=SixteenfoldSlerp,
                precision="tf32" if cuda else "float32",
                slice_batch=slices,
            ),
        ),
    }
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
    peaks = {}
    for turn in range(repeats + 1):
        for name, (network, job) in loops.items():
            gc.collect()
            if cuda:
                torch.cuda.reset_peak_memory_stats(device)
            seconds = network_part(network, job, device)
            peaks[name] = torch.cuda.max_memory_allocated(device) / 1e9 if cuda else float("nan")
            if turn:  # the first one fills caches
                spent[name].append(seconds)
    medians = {name: np.median(seconds, axis=0) for name, seconds in spent.items()}
    for name, (total, network) in medians.items():
        yield f"| {name} | {total:.2f} | {network / total:.0%} | {peaks[name]:.2f} |"
    ours, *_, eager = (total for total, _ in medians.values())
    weights = sum(p.numel() * p.element_size() for p in prior.parameters()) / 1e9
    yield f"\n{eager / ours:.1f} times as fast as the eager loop. Weights: {weights:.2f} GB; "
    yield f"one stack: {stack.numel() * 4 / 1e9:.3f} GB.\n"

    yield "## Growth\n\n| from | to | exponent |\n|---|---|---|"
    sizes = [32, 64, 128, 256, 512] if cuda else [4, 8, 16]
    counts = [15, 30, 60, 120] if cuda else [4, 8, 16]
    few = min(arguments.steps, 2)
    by_slices, by_views = [], []
    for size in sizes:
        part = scanner((*shape[:2], size), arguments.views)
        job = partial(whole, prior, part, part(body((*shape[:2], size), device)), steps=few)
        by_slices.append(median(job, device, repeats))
    for count in counts:
        part = scanner(shape, count)
        image = body(shape, device)[0]
        by_views.append(median(lambda part=part, image=image: part.normal(image), device, repeats))
    for name, of, seconds in (("slices", sizes, by_slices), ("views (projector)", counts, by_views)):
        found = exponent(of, seconds)
        yield f"| {of[0]} | {of[-1]} {name} | {found:.3f}{'' if found <= FITS else ' (not linear)'} |"

    yield f"\n## What precision costs: the shipped prior on the demo's volume, {arguments.quality_steps} steps\n"
    yield from precision_cost(device, arguments.quality_steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--shape", type=int, nargs=3, default=(256, 256, 300))
    parser.add_argument("--views", type=int, default=30)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--channels", type=int, nargs=4, default=(128, 256, 256, 256), help="of NCSN++")
    parser.add_argument("--quality-steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    lines = []
    for line in report(arguments):
        print(line, flush=True)
        lines.append(line)
    if arguments.output is not None:
        arguments.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
