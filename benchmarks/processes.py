# SPDX-License-Identifier: Apache-2.0
"""How much rounding alone changes a reconstruction: two processes, another slice batch, and a change of one ulp.

The only difference of two processes is that they sum the views in two parts; here one process makes both sums. Prints
the largest difference, divided by the volume's range, after each step of a recipe.

Usage: python benchmarks/processes.py [--size 64] [--slices 8] [--views 30] [--steps 2 10] [--recipe default]
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from monai.transforms import CenterSpatialCrop
from torch import Tensor

from monai_iscs.classical import direct
from monai_iscs.inferers import SliceDiffusionInferer
from monai_iscs.operators import LinearOperator
from monai_iscs.sampling import Start
from monai_iscs.scans import Measurement
from monai_iscs.workflows.bundle import find_bundle
from monai_iscs.workflows.pipeline import Pipeline


class TwoParts(LinearOperator):
    """A scanner whose two halves are summed separately, as by the `SharedOperator` of two processes."""

    def __init__(self, operator: LinearOperator) -> None:
        self.operator = operator
        self.domain_shape, self.range_shape = operator.domain_shape, operator.range_shape
        self.resolution, self.images = operator.resolution, operator.images
        self.orbit_plane = operator.orbit_plane
        views = operator.range_shape[0]
        self.half = -(-views // 2)
        self.parts = operator.rows(0, self.half), operator.rows(self.half, views)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([part.forward(x) for part in self.parts], 1)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.parts[0].adjoint(y[:, : self.half]) + self.parts[1].adjoint(y[:, self.half :])

    def gram(self, x: Tensor) -> Tensor:
        return self.parts[0].gram(x) + self.parts[1].gram(x)


@dataclass(frozen=True)
class Given(Start):
    """The same start for all, so that only the steps differ."""

    image: Tensor

    def volume(self, measurement: Measurement) -> Tensor:
        return self.image


def nudged(measurement: Measurement) -> Measurement:
    """With each number one unit in the last place higher or lower."""
    signs = torch.randint(0, 2, measurement.data.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return measurement.changed(data=measurement.data * (1 + torch.finfo(torch.float32).eps * signs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--views", type=int, default=30)
    parser.add_argument("--steps", type=int, nargs="+", default=[2, 10])
    parser.add_argument("--recipe", default="default")
    given = parser.parse_args()
    bundle = find_bundle("body_ct_reconstruction")
    overrides = {"size": given.size, "views": given.views, "recipe": given.recipe}
    pipeline = Pipeline(Path(bundle), device="cpu", overrides=overrides)
    volume = CenterSpatialCrop([-1, -1, given.slices])(pipeline.load(bundle / "demo" / "body_ct.nii.gz"))
    measurement = pipeline.measure(volume).measurement
    start = Given(direct(measurement))
    halves = measurement.changed(operator=TwoParts(measurement.operator))

    def run(steps: int, measurement: Measurement, batch: int) -> list[Tensor]:
        made = pipeline.sampler(changes={"steps": steps, "slice_batch": batch}).inferer
        inferer = SliceDiffusionInferer(replace(made.recipe, start=start), hardware=made.hardware, seed=made.seed)
        return [state.x0_hat.clone() for state in inferer.run(measurement, pipeline.network)]

    for steps in given.steps:
        base = run(steps, measurement, 8)
        others = {
            "again": run(steps, measurement, 8),
            "two parts": run(steps, halves, 8),
            "slice batch of 3": run(steps, measurement, 3),
            "measurement changed by 1 ulp": run(steps, nudged(measurement), 8),
        }
        print(f"{steps} steps, largest difference over the range and (relative norm) after each step")
        for name, estimates in others.items():
            parts = []
            for a, b in zip(base, estimates, strict=True):
                largest = float((a - b).abs().max() / (a.max() - a.min()))
                parts.append(f"{largest:.1e} ({float((a - b).norm() / a.norm()):.1e})")
            print(f"  {name}: {', '.join(parts)}", flush=True)


if __name__ == "__main__":
    main()
