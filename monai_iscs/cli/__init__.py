# SPDX-License-Identifier: Apache-2.0
"""The command line ``monai-iscs``: a thin layer over the package and its bundles."""

from __future__ import annotations

from monai_iscs.cli.entry import main

__all__ = ["main"]
