# SPDX-License-Identifier: Apache-2.0
"""The sampler as a MONAI inferer."""

from monai_iscs.inferers.batches import SliceBatches
from monai_iscs.inferers.layout import StackedOperator, StackLayout
from monai_iscs.inferers.slice_diffusion import SliceDiffusionInferer
from monai_iscs.inferers.starts import STARTS

__all__ = ["STARTS", "SliceBatches", "SliceDiffusionInferer", "StackLayout", "StackedOperator"]
