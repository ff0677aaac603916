# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from monai_iscs.reports import markdown_table, metrics_row

SUMMARY = {
    "axial": {"psnr": 33.456, "ssim": 0.91236, "lpips": None},
    "coronal": {"psnr": 34.0, "ssim": None, "lpips": None},
    "sagittal": {"psnr": 35.126, "ssim": 0.9, "lpips": None},
    "slice_difference": {"reconstruction": 0.004, "reference": 0.005, "gap": -0.001, "excess": 0.0},
    "data_range": 1.0,
    "lpips_net": None,
}


def test_a_table_of_methods():
    rows = [metrics_row("DDS+ISCS", SUMMARY, seconds=41.26), metrics_row("A|B", SUMMARY)]
    lines = markdown_table(rows).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").replace("\\|", "/").split("|")] for line in lines]
    assert cells[0] == [
        *("method", "axial dB", "axial SSIM", "coronal dB", "coronal SSIM"),
        *("sagittal dB", "sagittal SSIM", "slice gap", "s"),
    ]
    assert cells[2] == ["DDS+ISCS", "33.46", "0.9124", "34.00", "-", "35.13", "0.9000", "-0.00100", "41.3"]
    assert cells[3][0] == "A/B"
    assert cells[3][-1] == "-"
    assert len({len(line) for line in lines}) == 1
    assert set(cells[1][0]) == {"-"}
    assert all(cell.endswith(":") for cell in cells[1][1:])


@pytest.mark.parametrize("rows", [[], [{"a": 1}, {"b": 1}]])
def test_rows_must_agree(rows):
    with pytest.raises(ValueError, match="rows: found"):
        markdown_table(rows)
