# SPDX-License-Identifier: Apache-2.0
"""The sampler as a MONAI inferer."""

from monai_iscs.inferers.hardware import Hardware
from monai_iscs.inferers.slice_diffusion import SliceDiffusionInferer, measurement_of

__all__ = ["Hardware", "SliceDiffusionInferer", "measurement_of"]
