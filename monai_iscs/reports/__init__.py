# SPDX-License-Identifier: Apache-2.0
"""Figures, tables, and the folder of a run."""

from __future__ import annotations

from monai_iscs.reports.benchmark import LAYOUTS, averaged_row, empty_row
from monai_iscs.reports.dicom_series import check_dicom_output, write_dicom_series
from monai_iscs.reports.figure import ColouredMap, psnr_curve, three_view_figure
from monai_iscs.reports.quality_figure import quality_figure
from monai_iscs.reports.record import RunRecord
from monai_iscs.reports.run_folder import RECORD, RunFolder, read_results, write_json, write_volume
from monai_iscs.reports.step_figure import step_curves
from monai_iscs.reports.step_recorder import StepRecorder
from monai_iscs.reports.table import markdown_table, metrics_row, write_csv

__all__ = [
    "LAYOUTS",
    "RECORD",
    "ColouredMap",
    "RunFolder",
    "RunRecord",
    "StepRecorder",
    "averaged_row",
    "check_dicom_output",
    "empty_row",
    "markdown_table",
    "metrics_row",
    "psnr_curve",
    "quality_figure",
    "read_results",
    "step_curves",
    "three_view_figure",
    "write_csv",
    "write_dicom_series",
    "write_json",
    "write_volume",
]
