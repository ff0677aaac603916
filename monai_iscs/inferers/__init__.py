# SPDX-License-Identifier: Apache-2.0
"""The sampler as a MONAI inferer."""

from monai_iscs.inferers.layout import StackedOperator, StackLayout
from monai_iscs.inferers.slice_diffusion import SliceDiffusionInferer
from monai_iscs.inferers.starts import STARTS
from monai_iscs.priors.batches import SliceBatches

__all__ = ["STARTS", "SliceBatches", "SliceDiffusionInferer", "StackLayout", "StackedOperator"]
