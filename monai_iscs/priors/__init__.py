# SPDX-License-Identifier: Apache-2.0
"""What anatomy looks like: 2D diffusion priors as denoisers."""

from monai_iscs.priors.denoisers import Denoiser, EDMDenoiser, EpsilonDenoiser
from monai_iscs.priors.patch_network import PatchNetwork

__all__ = ["Denoiser", "EDMDenoiser", "EpsilonDenoiser", "PatchNetwork"]
