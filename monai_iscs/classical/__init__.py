# SPDX-License-Identifier: Apache-2.0
"""What the method is compared with."""

from __future__ import annotations

from monai_iscs.classical.admm_tv import ADMMTV
from monai_iscs.classical.cubic import cubic
from monai_iscs.classical.fdk import fdk

__all__ = ["ADMMTV", "cubic", "fdk"]
