# SPDX-License-Identifier: Apache-2.0
"""A scan that is reconstructed at once, by any method, and what a run shows beside the result."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from monai.data import MetaTensor

from monai_iscs.classical.direct import direct_method
from monai_iscs.methods import Method
from monai_iscs.sampling import State
from monai_iscs.workflows.checkpoint import Checkpoint
from monai_iscs.workflows.explanation import Fit, fit_of_views
from monai_iscs.workflows.pipeline import Measured, Pipeline
from monai_iscs.workflows.sampler import Sampled, Sampler
from monai_iscs.workflows.scanned import placing_notes, seen

Step = Callable[[State | None], Any]  # gets each step of a sampler, and None where a part is done
Tell = Callable[[list[str]], None]  # gets what is to be said to the user


class Beside(NamedTuple):
    """What is shown and said beside a result; volumes (1, X, Y, Z) on the grid of what is wanted.

    Attributes:
        method: the classical one of the first image.
        first: a classical image, in the prior's units.
        seen: how much of its views sees each voxel, see `seen`; None of simulated scans.
        fit: of the result to the views; None of other scans than cone beams.
    """

    method: str
    first: MetaTensor
    seen: MetaTensor | None
    fit: Fit | None

    @classmethod
    def of(cls, pipeline: Pipeline, measured: Measured, result: MetaTensor) -> Beside:
        """Compute it.

        Args:
            pipeline: that measured.
            measured: the measurement.
            result: as the method gave it.
        """
        method = direct_method(measured.measurement.operator)
        first = pipeline.shown(pipeline.baseline(method, measured), measured)
        fit = fit_of_views(result, measured)
        real = fit is not None and measured.reference is None
        return cls(Method(method).label, first, seen(first, measured) if real else None, fit)


class Whole:
    """A scan that is reconstructed at once; see `Slabs` for the other way.

    Args:
        pipeline: the bundle.
        volume: as it was loaded: the scanned volume, or projections.
        real: whether these are a real scanner's projections.

    Attributes:
        measured: the measurement, once it is made.
        parts: 1.
    """

    parts = 1

    def __init__(self, pipeline: Pipeline, volume: MetaTensor, *, real: bool) -> None:
        self.pipeline, self.volume, self.real = pipeline, volume, real
        self.measured: Measured | None = None
        self._result: MetaTensor | None = None

    def measure(self, method: Method | Sampler, tell: Tell) -> None:
        """Make the measurement.

        Args:
            method: classical or a sampler, which is going to reconstruct it.
            tell: gets what is to be said of it.
        """
        self.measured = self.pipeline.measure(self.volume)
        if self.real:
            tell(placing_notes(self.pipeline, self.measured, model=isinstance(method, Sampler)))
        self.method = method

    @property
    def voxels(self) -> int:
        """How many the result has, at most."""
        return math.prod(self.measured.measurement.grid.shape) if self.real else self.volume.numel()

    def reconstruct(self, callback: Step, checkpoint: Checkpoint | None = None) -> Sampled:
        """The volume from the measurement.

        Args:
            callback: gets each step of a sampler.
            checkpoint: a sampler's run goes on from it, and saves its steps there.
        """
        sampled = reconstruct(self.pipeline, self.method, self.measured, callback, checkpoint)
        self._result = sampled.volume
        return sampled

    @property
    def beside(self) -> Beside:
        """What is shown beside the result; once it is reconstructed."""
        return Beside.of(self.pipeline, self.measured, self._result)


def reconstruct(
    pipeline: Pipeline,
    method: Method | Sampler,
    measured: Measured,
    callback: Step,
    checkpoint: Checkpoint | None = None,
) -> Sampled:
    """A volume by a classical method or by a sampler, see `Pipeline.sample`."""
    if isinstance(method, Sampler):
        return pipeline.sample(method, measured, callback, checkpoint)
    return Sampled(pipeline.baseline(method.name, measured), None)
