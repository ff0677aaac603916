# SPDX-License-Identifier: Apache-2.0
"""What anatomy looks like: 2D diffusion priors as denoisers."""

from monai_iscs.priors.denoisers import (
    Denoiser,
    EDMDenoiser,
    EpsilonDenoiser,
    ScoreDenoiser,
    linear_alphas_cumprod,
)
from monai_iscs.priors.guided_diffusion_unet import GuidedDiffusionUNet
from monai_iscs.priors.ncsnpp import NCSNpp
from monai_iscs.priors.orientation import DisplayOriented
from monai_iscs.priors.patch_network import PatchNetwork
from monai_iscs.priors.published import PublishedPrior, load_published_prior

__all__ = [
    "Denoiser",
    "DisplayOriented",
    "EDMDenoiser",
    "EpsilonDenoiser",
    "GuidedDiffusionUNet",
    "NCSNpp",
    "PatchNetwork",
    "PublishedPrior",
    "ScoreDenoiser",
    "linear_alphas_cumprod",
    "load_published_prior",
]
