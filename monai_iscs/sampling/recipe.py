# SPDX-License-Identifier: Apache-2.0
"""Recipes: every choice of a reconstruction, by name and number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

from monai_iscs.errors import InputError
from monai_iscs.methods import PRIORS, parse_sampler
from monai_iscs.priors import Prior, SlicePrior
from monai_iscs.priors.denoisers import StackDenoiser
from monai_iscs.randomness import random_stream
from monai_iscs.sampling.adaptive_noise import AdaptiveNoise
from monai_iscs.sampling.antithetic import Opposite
from monai_iscs.sampling.consistency import DDNM, DDS, Consistency
from monai_iscs.sampling.kernel_noise import KernelNoise
from monai_iscs.sampling.loop import Plugs
from monai_iscs.sampling.noise import (
    IdenticalNoise,
    IndependentNoise,
    SlerpNoise,
    SliceNoise,
    StagedNoise,
)
from monai_iscs.sampling.partial_noise import NoNoise
from monai_iscs.sampling.rules import DDIMRule, DDSRule, Rule
from monai_iscs.sampling.run import Run
from monai_iscs.sampling.sigmas import Geometric
from monai_iscs.sampling.starts import Direct, Start, Zeros
from monai_iscs.sampling.total_variation import DDSTV
from monai_iscs.scans import Measurement

SAMPLERS: dict[str, Consistency] = {"dds": DDS(), "ddnm": DDNM(), "dds+tv": DDSTV()}
NOISES: dict[str, SliceNoise] = {
    "iscs": SlerpNoise(),
    "identical": IdenticalNoise(),
    "identical-steps": StagedNoise(SlerpNoise(), IdenticalNoise()),
    "kernel": KernelNoise(),
    "adaptive": AdaptiveNoise(),
    "noiseless": NoNoise(),
}
PARTS: dict[str, type] = {
    "start": Start,
    "sigmas": Geometric,
    "prior": Prior,
    "consistency": Consistency,
    "noise": SliceNoise,
    "rule": Rule,
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Every choice of a reconstruction. It belongs to the prior that its numbers were tuned for.

    Args:
        start: the volume to which the first noise is added.
        sigmas: of the sampler.
        prior: how the networks are applied to the volume.
        consistency: how estimates are brought to the measurement.
        noise: added in every step.
        rule: how much noise is added.
        samplers: other tuned consistency steps, with which `method` replaces `consistency`; by name: "dds", "ddnm" or
            "dds+tv".
        priors: other priors, with which `method` replaces `prior`; by name: "diffusionblend" or "tpdm".

    Raises:
        InputError: an unknown sampler or prior, or a part of another type.
    """

    start: Start = field(default_factory=Direct)
    sigmas: Geometric = field(default_factory=Geometric)
    prior: Prior = field(default_factory=SlicePrior)
    consistency: Consistency = field(default_factory=DDS)
    noise: SliceNoise = field(default_factory=SlerpNoise)
    rule: Rule = field(default_factory=DDSRule)
    samplers: Mapping[str, Consistency] = field(default_factory=dict)
    priors: Mapping[str, Prior] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for entry, known in (("samplers", SAMPLERS), ("priors", PRIORS)):
            if unknown := set(getattr(self, entry)) - set(known):
                raise InputError(f"{entry}: found {', '.join(sorted(unknown))}, expected some of {', '.join(known)}")
        for name, kind in PARTS.items():
            if not isinstance(getattr(self, name), kind):
                raise InputError(f"{name}: found {getattr(self, name)!r}, expected a {kind.__name__}")

    @property
    def label(self) -> str:
        """Its name in tables, such as DDS+ISCS."""
        named = self.prior.label if isinstance(self.consistency, DDS) else ""
        return "+".join(filter(None, (named or self.consistency.label, self.noise.label)))

    def method(self, name: str) -> Recipe:
        """The recipe with the consistency step and the noise of a method, and the prior if that is what it names.

        Args:
            name: ``SAMPLER[+tv][+NOISE]``. SAMPLER is dds or ddnm, or diffusionblend or tpdm, which is dds with that
                prior; tv only with dds. NOISE is iscs (or slerp), identical, identical-steps, kernel, adaptive or
                noiseless; without one, every slice draws independent noise, and corrections are not smoothed across
                slices, because the errors of neighbouring slices also differ then.

        Raises:
            InputError: an unknown name, parts in another order, or a prior that the recipe does not have.
        """
        sampler, noise = parse_sampler(name)
        prior = self.prior
        if sampler in PRIORS:
            if sampler not in self.priors:
                there = ", ".join(self.priors) or "none"
                raise InputError(f"method: found {name!r}, expected one whose prior the recipe has: {there}")
            prior, sampler = self.priors[sampler], "dds"
        known = {_name_of(self.consistency, SAMPLERS): self.consistency, **self.samplers}
        consistency = known.get(sampler, SAMPLERS[sampler])
        chosen = NOISES.get(noise, IndependentNoise())
        if type(self.noise) is type(chosen) and self.noise.label == chosen.label:
            chosen = self.noise  # with its own settings
        if not chosen.aligned:
            consistency = consistency.smoothed(0.0)
        return replace(self, prior=prior, consistency=consistency, noise=chosen)

    def changed(
        self,
        *,
        steps: int | None = None,
        eta: float | None = None,
        smoothing: float | None = None,
        to_the_noise: bool = False,
    ) -> Recipe:
        """The recipe with single values replaced; None keeps a value.

        Args:
            steps: number of sigmas.
            eta: stochasticity of the rule.
            smoothing: width across slices of corrections, see `smoothing_along`.
            to_the_noise: fit the measurement no closer than its noise.

        Raises:
            InputError: a value out of range, or one that the recipe's parts don't have.
        """
        consistency = self.consistency if smoothing is None else self.consistency.smoothed(smoothing)
        return replace(
            self,
            sigmas=self.sigmas if steps is None else replace(self.sigmas, steps=steps),
            rule=self.rule if eta is None else replace(self.rule, eta=eta),
            consistency=consistency.to_the_noise() if to_the_noise else consistency,
        )

    def bind(
        self, networks: Mapping[str, StackDenoiser], measurement: Measurement, *, seed: int = 0, member: int = 0
    ) -> Run:
        """The reconstruction of a measurement, ready to iterate over its steps.

        Args:
            networks: denoisers of stacks (S, C, H, W) by the names that the prior uses.
            measurement: to reconstruct.
            seed: of the sampler's random numbers, at least 0.
            member: of an ensemble, from 0, which is the single run. Each odd member has the random numbers of the one
                before it, and the opposite noise.
        """
        axis, data = self.prior.axis, measurement.data
        pair, opposite = divmod(member, 2)
        noise = (Opposite(self.noise) if opposite else self.noise).bind(
            measurement.grid,
            self.prior.axes,
            random_stream(seed, "noise", pair),
            channels=measurement.channels,
            device=data.device,
            dtype=data.dtype,
        )
        plugs = Plugs(
            start=self.start.bind(measurement),
            prior=self.prior.bind(networks, measurement, random_stream(seed, "prior", pair)),
            consistency=self.consistency.bind(
                measurement.whitened if self.consistency.whiten else measurement.weighted, axis
            ),
            noise=noise,
            rule=self.rule.bind(),
        )
        return Run(plugs, self.sigmas.levels(), lower_bound=self.prior.lower_bound)

    def as_dict(self) -> dict[str, Any]:
        """Every choice as JSON values: a plug is its class's name and its settings."""
        return {entry.name: _described(getattr(self, entry.name)) for entry in fields(self) if entry.name in PARTS}


def _name_of(plug: object, names: Mapping[str, object]) -> str | None:
    return next((name for name, entry in names.items() if type(entry) is type(plug)), None)


def _described(value: Any) -> Any:
    if is_dataclass(value):
        return {"name": type(value).__name__} | {f.name: _described(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _described(entry) for key, entry in value.items()}
    return [_described(entry) for entry in value] if isinstance(value, (list, tuple)) else value


# The settings of the authors' published code (recon_CBCT.sh).
RELEASED = Recipe(sigmas=Geometric(steps=30, first=5.0, last=0.01))
# The settings of the paper: Algorithm 1 from pure noise, Eq. 12 and 16. It has no gamma; 1 is that of the DDS code.
PAPER = Recipe(
    start=Zeros(),
    sigmas=Geometric(steps=30, first=378.0, last=0.01),
    consistency=DDS(gamma=1.0),
    rule=DDIMRule(),
    samplers={"dds+tv": DDSTV(gamma=1.0)},
)
RECIPES = {"released": RELEASED, "paper": PAPER}
