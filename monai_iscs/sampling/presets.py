# SPDX-License-Identifier: Apache-2.0
"""Named settings of the sampler."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.sampling.renoise import DDIMRule, DDSRule
from monai_iscs.sampling.sigmas import geometric_sigmas
from monai_iscs.scans import NoiseLevel, estimate_noise_level


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Settings that belong together.

    Attributes:
        start: what the first noise is added to, a name of `monai_iscs.inferers.starts.STARTS`.
        sigma_max: first noise level, in the prior's units.
        sigma_min: last noise level.
        steps: number of noise levels, each one evaluation of the prior.
        rule: re-noising rule.
        eta: its stochasticity, 0 to 1.
        momentum: how much further than the last change a step goes, see `reconstruct`.
        cg_iterations: conjugate gradient iterations of DDS in each step.
        sirt_iterations: most SIRT iterations of DDNM in each step.
        gamma: proximal weight of DDS (Eq. 16), or None for the normal equations alone.
        noise_level: how noisy the measurement is, see `DDS`.
        smoothing: width across slices to which corrections are bound, see `smoothing_along`; 0 leaves them free.
        plane_smoothing: the same in the plane of the slices, for DDS.
        noise_excess: the prior is told this times sigma, see `SliceDiffusionInferer`.
        mirror: in-plane axis along which every other step mirrors the slices (0: left to right), or None.
        non_negative: keep estimates and result at or above 0.
    """

    start: str
    sigma_max: float
    sigma_min: float = 0.01
    steps: int = 30
    rule: type[DDSRule] | type[DDIMRule] = DDSRule
    eta: float = 1.0
    momentum: float = 0.0
    cg_iterations: int = 10
    sirt_iterations: int = 100
    gamma: float | None = None
    noise_level: NoiseLevel = 0.0
    smoothing: float = 0.0
    plane_smoothing: float = 0.0
    noise_excess: float = 1.0
    mirror: int | None = None
    non_negative: bool = False

    def sigmas(self, steps: int | None = None) -> Tensor:
        """Return the preset's noise levels, or as many of them as wanted between the same ends."""
        return geometric_sigmas(
            self.steps if steps is None else steps, sigma_max=self.sigma_max, sigma_min=self.sigma_min
        )


# Ours, tuned on validation volumes: views from all around.
_DEFAULT = Preset(
    start="fdk",
    sigma_max=0.2,
    sigma_min=0.002,
    steps=30,  # beyond, thick slices still gain and thin ones lose
    cg_iterations=20,
    sirt_iterations=20,
    noise_level=estimate_noise_level,
    smoothing=0.65,
    noise_excess=1.67,
    mirror=0,
    non_negative=True,
)

PRESETS = {
    "default": _DEFAULT,
    # As good with half of the steps: each goes further, so the prior is asked for more, from closer by.
    "fast": replace(_DEFAULT, sigma_max=0.1, steps=15, momentum=0.45, noise_excess=2.75),
    # Views from one side only leave FDK so far from the truth that more noise must cover the distance.
    "limited-angle": replace(_DEFAULT, sigma_max=1.0, steps=30),
    # Thick slices across the plane of the prior's: a correction of one of them is a block unless it is smooth.
    "super-resolution": replace(
        _DEFAULT,
        start="cubic",
        sigma_max=0.1,
        sigma_min=0.005,
        steps=12,
        cg_iterations=10,
        smoothing=0.0,
        plane_smoothing=0.4,
        noise_excess=4.5,
    ),
    # What the authors' published code runs (recon_CBCT.sh).
    "released": Preset(start="fdk", sigma_max=5.0),
    # What the paper writes: Algorithm 1 from pure noise, Eq. 12 and 16. It names no gamma; 1 is that of the DDS code.
    "paper": Preset(start="zeros", sigma_max=378.0, rule=DDIMRule, gamma=1.0),
}


def find_preset(name: str) -> Preset:
    """Return the preset of that name.

    Raises:
        InputError: there is none.
    """
    if name not in PRESETS:
        raise InputError(f"preset is {name!r}, expected one of {', '.join(PRESETS)}")
    return PRESETS[name]
