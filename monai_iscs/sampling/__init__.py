# SPDX-License-Identifier: Apache-2.0
"""How a prior and a scanner meet: noise levels, slice noise, consistency and the loop."""

from monai_iscs.sampling.consistency import DDNM, DDS
from monai_iscs.sampling.loop import Consistency, Denoiser, Rule, Step, reconstruct
from monai_iscs.sampling.noise import IdenticalNoise, IndependentNoise, SlerpNoise, SliceNoise, StagedNoise
from monai_iscs.sampling.presets import PRESETS, Preset, find_preset
from monai_iscs.sampling.renoise import DDIMRule, DDSRule, renoise
from monai_iscs.sampling.sigmas import check_sigmas, geometric_sigmas
from monai_iscs.sampling.total_variation import DDSTV

__all__ = [
    "DDNM",
    "DDS",
    "DDSTV",
    "PRESETS",
    "Consistency",
    "DDIMRule",
    "DDSRule",
    "Denoiser",
    "IdenticalNoise",
    "IndependentNoise",
    "Preset",
    "Rule",
    "SlerpNoise",
    "SliceNoise",
    "StagedNoise",
    "Step",
    "check_sigmas",
    "find_preset",
    "geometric_sigmas",
    "reconstruct",
    "renoise",
]
