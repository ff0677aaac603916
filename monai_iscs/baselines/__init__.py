# SPDX-License-Identifier: Apache-2.0
"""What the method is compared with."""

from __future__ import annotations

from monai_iscs.baselines.fdk import fdk

__all__ = ["fdk"]
