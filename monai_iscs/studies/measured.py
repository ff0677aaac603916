# SPDX-License-Identifier: Apache-2.0
"""A measured volume that several methods reconstruct: what they have in common is computed once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from monai.bundle import ConfigParser
from monai.data import MetaTensor
from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.inferers import SliceDiffusionInferer, StackLayout
from monai_iscs.metrics import data_residual
from monai_iscs.operators import LinearOperator
from monai_iscs.reports import StepRecorder
from monai_iscs.scans.meta import image_name
from monai_iscs.workflows.names import CHOICES
from monai_iscs.workflows.pipeline import Pipeline


class MeasuredVolume:
    """The measurement of a volume, with the operator and the starting images that methods share.

    Args:
        pipeline: the bundle.
        volume: what to measure, (1, X, Y, Z), as the pipeline loads it. No method sees it.

    Attributes:
        volume: the same in the prior's units.

    Raises:
        InputError: the bundle takes its volumes as measured, so that there is nothing to compare with.
    """

    def __init__(self, pipeline: Pipeline, volume: MetaTensor) -> None:
        self.pipeline = pipeline
        self.measurement, reference = pipeline.measure(volume)
        if reference is None:
            raise InputError(
                f"{image_name(volume)}: was taken as measured, expected a scan to simulate a measurement from, which "
                "--factor N does, to compare with it"
            )
        self.volume = reference
        self.operator: LinearOperator = pipeline.scan(self.measurement)
        self._image = cache(self._compute_image)

    def _compute_image(self, method: Callable[[Tensor, LinearOperator], Tensor]) -> Tensor:
        return method(self.measurement.as_tensor().to(self.pipeline.device), self.operator)

    def baseline(self, name: str) -> MetaTensor:
        """The volume by a classical method."""
        method = ConfigParser(CHOICES["baseline"]).get_parsed_content(name)
        return self.pipeline.place(self._image(method), self.measurement)

    def residual(self, result: MetaTensor) -> float:
        """How far a result is from its measurement, ‖A x − y‖ / ‖y‖."""
        y = self.measurement.as_tensor()
        return data_residual(result.as_tensor().to(y.device), y, self.operator)

    def recorder(self, inferer: SliceDiffusionInferer) -> StepRecorder:
        """What measures each step of a sampler of this volume."""
        layout = StackLayout(
            self.operator.domain_shape, inferer.slice_axis, getattr(self.pipeline.network, "size_divisor", 1)
        )
        return StepRecorder(layout, reference=self.volume, non_negative=inferer.non_negative)

    def sample(self, inferer: SliceDiffusionInferer, callback: Callable[[Any], None]) -> MetaTensor:
        """The volume by a diffusion sampler."""
        if inferer.start is not None:
            start = inferer.start
            inferer.start = lambda _, __: self._image(start)
        inferer.operator = self.operator
        return self.pipeline.sample(inferer, self.measurement, callback)
