# SPDX-License-Identifier: Apache-2.0
"""Reconstruction from a prior and a measurement: the loop of the paper's Algorithm 1, and its recipes."""

from monai_iscs.sampling.adaptive_noise import AdaptiveNoise
from monai_iscs.sampling.antithetic import Opposite
from monai_iscs.sampling.conjugate_gradient import ConjugateGradient
from monai_iscs.sampling.consistency import DDNM, DDS, Consistency
from monai_iscs.sampling.ensemble import Ensemble, check_samples
from monai_iscs.sampling.kernel_noise import Exponential, Kernel, KernelNoise, Matern, SquaredExponential
from monai_iscs.sampling.loop import Plugs, State, sample
from monai_iscs.sampling.noise import (
    BoundNoise,
    Canvas,
    IdenticalNoise,
    IndependentNoise,
    SlerpNoise,
    SliceNoise,
    StagedNoise,
)
from monai_iscs.sampling.partial_noise import NoNoise, PartialNoise
from monai_iscs.sampling.recipe import NOISES, PAPER, RECIPES, RELEASED, SAMPLERS, Recipe
from monai_iscs.sampling.rules import BoundRule, DDIMRule, DDSRule, Rule, renoise
from monai_iscs.sampling.run import Run
from monai_iscs.sampling.sigmas import Geometric, check_sigmas, geometric_sigmas
from monai_iscs.sampling.starts import FDK, Cubic, Direct, Start, Zeros
from monai_iscs.sampling.total_variation import DDSTV
from monai_iscs.sampling.window import Window

__all__ = [
    "DDNM",
    "DDS",
    "DDSTV",
    "FDK",
    "NOISES",
    "PAPER",
    "RECIPES",
    "RELEASED",
    "SAMPLERS",
    "AdaptiveNoise",
    "BoundNoise",
    "BoundRule",
    "Canvas",
    "ConjugateGradient",
    "Consistency",
    "Cubic",
    "DDIMRule",
    "DDSRule",
    "Direct",
    "Ensemble",
    "Exponential",
    "Geometric",
    "IdenticalNoise",
    "IndependentNoise",
    "Kernel",
    "KernelNoise",
    "Matern",
    "NoNoise",
    "Opposite",
    "PartialNoise",
    "Plugs",
    "Recipe",
    "Rule",
    "Run",
    "SlerpNoise",
    "SliceNoise",
    "SquaredExponential",
    "StagedNoise",
    "Start",
    "State",
    "Window",
    "Zeros",
    "check_samples",
    "check_sigmas",
    "geometric_sigmas",
    "renoise",
    "sample",
]
