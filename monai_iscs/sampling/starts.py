# SPDX-License-Identifier: Apache-2.0
"""Starts: volumes from the measurement alone, to which the sampler's first noise is added."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from monai_iscs.classical import cubic, direct, fdk
from monai_iscs.scans import Measurement


@dataclass(frozen=True)
class Start(ABC):
    """Settings of a start."""

    @abstractmethod
    def volume(self, measurement: Measurement) -> Tensor:
        """The start of a measurement, (C, X, Y, Z)."""

    def bind(self, measurement: Measurement) -> Callable[[], Tensor]:
        """The start of one reconstruction: computed when it is called, in the measurement's type."""
        return lambda: self.volume(measurement).to(measurement.data)


@dataclass(frozen=True)
class Direct(Start):
    """The usual quick image of the operator: FDK, helical FBP, cubic for thick slices, else SIRT; see `direct`."""

    def volume(self, measurement: Measurement) -> Tensor:
        return direct(measurement)


@dataclass(frozen=True)
class FDK(Start):
    """Filtered backprojection of cone-beam projections, see `monai_iscs.classical.fdk`."""

    def volume(self, measurement: Measurement) -> Tensor:
        return fdk(measurement)


@dataclass(frozen=True)
class Cubic(Start):
    """Cubic interpolation between thick slices, see `monai_iscs.classical.cubic`."""

    def volume(self, measurement: Measurement) -> Tensor:
        return cubic(measurement)


@dataclass(frozen=True)
class Zeros(Start):
    """Only noise, as in the paper's Algorithm 1."""

    def volume(self, measurement: Measurement) -> Tensor:
        return measurement.data.new_zeros(measurement.volume_shape)
