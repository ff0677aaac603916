# SPDX-License-Identifier: Apache-2.0
"""Readers of real projections, one module a family of formats, and a writer."""

from __future__ import annotations

from monai_iscs.scans.readers.ct_pd_write import check_new, write_ct_pd
from monai_iscs.scans.readers.formats import check_geometry_given, holds_projections
from monai_iscs.scans.readers.options import Options
from monai_iscs.scans.readers.read import OpenProjections, open_with, read_projections, read_with
from monai_iscs.scans.readers.write import write_projections

__all__ = [
    "OpenProjections",
    "Options",
    "check_geometry_given",
    "check_new",
    "holds_projections",
    "open_with",
    "read_projections",
    "read_with",
    "write_ct_pd",
    "write_projections",
]
