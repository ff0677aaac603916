# SPDX-License-Identifier: Apache-2.0
"""What anatomy looks like: 2D diffusion priors as denoisers."""

from monai_iscs.priors.alternating import Alternating
from monai_iscs.priors.batches import SliceBatches
from monai_iscs.priors.conditioned import Conditioned
from monai_iscs.priors.denoisers import (
    ConditionedDenoiser,
    Denoiser,
    EDMDenoiser,
    EpsilonDenoiser,
    LabelledDenoiser,
    NeighbourDenoiser,
    ScoreDenoiser,
    linear_alphas_cumprod,
)
from monai_iscs.priors.guided_diffusion_unet import GuidedDiffusionUNet
from monai_iscs.priors.ncsnpp import NCSNpp
from monai_iscs.priors.neighbours import Neighbours
from monai_iscs.priors.orientation import DisplayOriented
from monai_iscs.priors.patch_network import PatchNetwork
from monai_iscs.priors.published import PublishedPrior, load_published_prior
from monai_iscs.priors.slice_prior import BoundPrior, Prior, SlicePrior
from monai_iscs.priors.triplets import Triplets
from monai_iscs.priors.wrappers import Mirrored, NonNegative, Overstated, WrappedPrior

__all__ = [
    "Alternating",
    "BoundPrior",
    "Conditioned",
    "ConditionedDenoiser",
    "Denoiser",
    "DisplayOriented",
    "EDMDenoiser",
    "EpsilonDenoiser",
    "GuidedDiffusionUNet",
    "LabelledDenoiser",
    "Mirrored",
    "NCSNpp",
    "NeighbourDenoiser",
    "Neighbours",
    "NonNegative",
    "Overstated",
    "PatchNetwork",
    "Prior",
    "PublishedPrior",
    "ScoreDenoiser",
    "SliceBatches",
    "SlicePrior",
    "Triplets",
    "WrappedPrior",
    "linear_alphas_cumprod",
    "load_published_prior",
]
