# SPDX-License-Identifier: Apache-2.0
"""The slice-consistent re-noising as a MONAI scheduler."""

from monai_iscs.schedulers.iscs import ISCSScheduler

__all__ = ["ISCSScheduler"]
