# SPDX-License-Identifier: Apache-2.0
"""A measured volume that several methods reconstruct."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from monai.data import MetaTensor
from monai.transforms import CenterSpatialCrop

from monai_iscs.errors import InputError
from monai_iscs.metrics import data_residual
from monai_iscs.reports import StepRecorder
from monai_iscs.sampling import State
from monai_iscs.scans.meta import image_name
from monai_iscs.workflows.checkpoint import Checkpoint
from monai_iscs.workflows.pipeline import Pipeline
from monai_iscs.workflows.sampler import Sampled, Sampler


def middle_slices(volume: MetaTensor, count: int | None, axis: int) -> MetaTensor:
    """The slices in the middle of a volume (1, X, Y, Z), so many along an axis of (X, Y, Z); None: all.

    Raises:
        InputError: the volume has fewer.
    """
    if count is None:
        return volume
    if (there := volume.shape[1 + axis]) < count:
        raise InputError(f"{image_name(volume)}: found {there} slices, expected at least {count} for --slices")
    return CenterSpatialCrop([count if along == axis else -1 for along in range(3)])(volume)


class MeasuredVolume:
    """The measurement of a volume, whose operator and noise level the methods share.

    Args:
        pipeline: the bundle.
        volume: to measure, (1, X, Y, Z), as the pipeline loads it. No method sees it.

    Attributes:
        measured: the measurement, for the methods.
        volume: the volume in the prior's units.

    Raises:
        InputError: the bundle takes its volumes as measured, so that there is no reference.
    """

    def __init__(self, pipeline: Pipeline, volume: MetaTensor) -> None:
        self.pipeline = pipeline
        self.measured = pipeline.measure(volume)
        if self.measured.reference is None:
            raise InputError(
                f"{image_name(volume)}: found a volume that is taken as measured, expected one to simulate a "
                "measurement from (--factor N), as the reference"
            )
        self.volume = self.measured.reference

    def baseline(self, name: str) -> MetaTensor:
        """The volume by a classical method."""
        return self.pipeline.baseline(name, self.measured)

    def sample(
        self, sampler: Sampler, callback: Callable[[State], Any], checkpoint: Checkpoint | None = None
    ) -> Sampled:
        """The volume by a diffusion sampler."""
        return self.pipeline.sample(sampler, self.measured, callback, checkpoint)

    def shown(self, result: MetaTensor) -> MetaTensor:
        """A result on the grid of the volume."""
        return self.pipeline.shown(result, self.measured)

    def residual(self, result: MetaTensor) -> float:
        """How far a result is from its measurement, ‖A x − y‖ / ‖y‖."""
        measurement = self.measured.measurement
        return data_residual(result.as_tensor().to(measurement.data.device), measurement.data, measurement.operator)

    def recorder(self, sampler: Sampler) -> StepRecorder:
        """A recorder of each step of a sampler of this volume."""
        prior = sampler.recipe.prior
        return StepRecorder(
            reference=self.volume,
            slice_axis=prior.axis,
            lower_bound=prior.lower_bound,
            shown=lambda volume: self.shown(self.pipeline.place(volume, self.measured)),
        )
