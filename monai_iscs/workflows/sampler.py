# SPDX-License-Identifier: Apache-2.0
"""A bundle's diffusion sampler, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from monai.data import MetaTensor

from monai_iscs.inferers import SliceDiffusionInferer
from monai_iscs.sampling import Recipe, Window


class Sampled(NamedTuple):
    """The result of a sampler, (1, X, Y, Z) in the prior's units.

    Attributes:
        volume: the sample, or the mean of several.
        std: the standard deviation of several samples; None of one.
    """

    volume: MetaTensor
    std: MetaTensor | None


@dataclass(frozen=True)
class Sampler:
    """A bundle's diffusion sampler for one run.

    Attributes:
        inferer: with the complete recipe, the hardware and the seed.
        name: of the bundle's recipe that it was made from.
        replaced: what was replaced in it, by the ids of the config.
    """

    inferer: SliceDiffusionInferer
    name: str
    replaced: Mapping[str, Any]

    @property
    def recipe(self) -> Recipe:
        """Every choice."""
        return self.inferer.recipe

    def windowed(self, first: int, slices: int) -> Sampler:
        """The same with the noise of a longer stack; see `Window`."""
        inferer = copy(self.inferer)
        inferer.recipe = replace(self.recipe, noise=Window(self.recipe.noise, first, slices))
        return replace(self, inferer=inferer)

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of the networks that its prior needs."""
        return self.recipe.prior.networks

    @property
    def steps(self) -> int:
        """How often the prior is called for a sample."""
        return len(self.recipe.sigmas.levels())

    @property
    def samples(self) -> int:
        """How many samples; with several, their mean is the result."""
        return self.inferer.samples

    @property
    def result(self) -> str:
        """What its result is, in words."""
        return "one sample" if self.samples == 1 else f"mean of {self.samples} samples"

    @property
    def calls(self) -> int:
        """How often the prior is called for all samples."""
        return self.samples * self.steps
