# SPDX-License-Identifier: Apache-2.0
"""What people look at: figures, tables, and the folder of a run."""

from __future__ import annotations

from monai_iscs.reports.benchmark import LAYOUTS, averaged_row, csv_table, empty_row
from monai_iscs.reports.figure import psnr_curve, three_view_figure
from monai_iscs.reports.record import RunRecord
from monai_iscs.reports.run_folder import RunFolder, write_json, write_volume
from monai_iscs.reports.table import markdown_table, metrics_row

__all__ = [
    "LAYOUTS",
    "RunFolder",
    "RunRecord",
    "averaged_row",
    "csv_table",
    "empty_row",
    "markdown_table",
    "metrics_row",
    "psnr_curve",
    "three_view_figure",
    "write_json",
    "write_volume",
]
