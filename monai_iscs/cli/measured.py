# SPDX-License-Identifier: Apache-2.0
"""A measured volume that several methods reconstruct: what they have in common is computed once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.utils import convert_to_dst_type
from torch import Tensor

from monai_iscs.cli.names import CHOICES
from monai_iscs.cli.pipeline import Pipeline
from monai_iscs.inferers import SliceDiffusionInferer
from monai_iscs.operators import LinearOperator


class MeasuredVolume:
    """The measurement of a volume, with the operator and the starting images that methods share.

    Args:
        pipeline: the bundle.
        volume: what to measure, (1, X, Y, Z) in the prior's units. No method sees it.
    """

    def __init__(self, pipeline: Pipeline, volume: MetaTensor) -> None:
        self.pipeline, self.volume = pipeline, volume
        self.measurement = pipeline.measure(volume)
        self.operator: LinearOperator = pipeline.scan(self.measurement)
        self._image = cache(self._compute_image)

    def _compute_image(self, method: Callable[[Tensor, LinearOperator], Tensor]) -> Tensor:
        return method(self.measurement.as_tensor().to(self.pipeline.device), self.operator)

    def baseline(self, name: str) -> MetaTensor:
        """The volume by a classical method."""
        method = ConfigParser(CHOICES["baseline"]).get_parsed_content(name)
        return convert_to_dst_type(self._image(method), self.measurement)[0]

    def sample(self, inferer: SliceDiffusionInferer, callback: Callable[[Any], None]) -> MetaTensor:
        """The volume by a diffusion sampler."""
        if inferer.start is not None:
            start = inferer.start
            inferer.start = lambda _, __: self._image(start)
        inferer.operator = self.operator
        return self.pipeline.sample(inferer, self.measurement, callback)
