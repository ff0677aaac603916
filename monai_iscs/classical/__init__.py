# SPDX-License-Identifier: Apache-2.0
"""What the method is compared with."""

from __future__ import annotations

from monai_iscs.classical.admm_tv import ADMMTV
from monai_iscs.classical.cubic import cubic
from monai_iscs.classical.fdk import fdk

__all__ = ["ADMMTV", "cubic", "fdk"]
from monai_iscs.classical.methods import cubic_volume, fdk_volume
def fdk(m): return fdk_volume(m.data, m.operator)
def cubic(m): return cubic_volume(m.data, m.operator)
def direct(m):
    try: return fdk(m)
    except Exception: return cubic(m)
