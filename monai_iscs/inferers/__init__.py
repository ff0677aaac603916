# SPDX-License-Identifier: Apache-2.0
"""The sampler as a MONAI inferer."""

from monai_iscs.inferers.layout import StackedOperator, StackLayout, apply_in_batches
from monai_iscs.inferers.slice_diffusion import SliceDiffusionInferer
from monai_iscs.inferers.starts import STARTS

__all__ = ["STARTS", "SliceDiffusionInferer", "StackLayout", "StackedOperator", "apply_in_batches"]
