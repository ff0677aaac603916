# SPDX-License-Identifier: Apache-2.0
"""The cost of slice noise: time compared with one step of the prior, and memory besides the returned stack.

    python benchmarks/noise.py [--slices 62] [--size 128] [--repeats 5]

Memory is that of all tensors held at the same time (torch's profiler). For comparison the memory of the published
construction is computed: it interpolates 16 maps for each slice, keeps them in a list and then makes the stack.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from monai.networks.nets import DiffusionModelUNet
from torch.profiler import ProfilerActivity, profile

from monai_iscs.grid import Grid
from monai_iscs.sampling import IdenticalNoise, IndependentNoise, SlerpNoise

MAPS_PER_SLICE = 16
BATCH = 8  # slices that the prior takes at a time; its step is timed on one such batch


def seconds(function: Callable[[], object], repeats: int) -> float:
    """Median wall time of a call."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return sorted(times)[repeats // 2]


def peak_bytes(function: Callable[[], object]) -> int:
    """The largest number of bytes in tensors that a call holds at the same time."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        function()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=62)
    parser.add_argument("--size", type=int, default=128, help="pixels of a slice's side")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()

    network = DiffusionModelUNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=1,
        channels=(32, 64, 128),
        attention_levels=(False, False, True),
        num_res_blocks=2,
        num_head_channels=32,
    ).eval()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    stack = torch.randn(options.slices, 1, options.size, options.size)
    with torch.no_grad():
        step = seconds(lambda: network(stack[:BATCH], timesteps=torch.zeros(1)), 3) * options.slices / BATCH
    print(
        f"{options.slices} slices of {options.size} x {options.size}, {torch.get_num_threads()} threads; one step of a "
        f"prior with {parameters / 1e6:.1f} million parameters: {step:.2f} s"
    )

    one_map = options.size**2 * 4
    print(f"{'noise':17} {'ms':>8} {'share of a step':>16} {'maps besides the stack':>24}")
    grid = Grid.centered((options.size, options.size, options.slices), (1.0, 1.0, 1.0))
    for noise in (SlerpNoise(), IdenticalNoise(), IndependentNoise()):
        bound = noise.bind(grid, 2, torch.Generator().manual_seed(0))

        def draw(bound=bound) -> torch.Tensor:
            return bound(1.0)

        draw()
        cost = seconds(draw, options.repeats)
        extra = peak_bytes(draw) / one_map - options.slices
        print(f"{type(noise).__name__:17} {cost * 1e3:8.2f} {cost / step:16.3%} {extra:24.2f}")
    print(f"16-fold construction, counted: {2 + MAPS_PER_SLICE * options.slices} maps besides the stack")


if __name__ == "__main__":
    main()
