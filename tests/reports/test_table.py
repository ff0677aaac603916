# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from monai_iscs.reports import markdown_table, metrics_row, write_csv

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


def test_lpips_has_columns_on_demand():
    measured = {**SUMMARY, "axial": {"psnr": 33.456, "ssim": 0.91236, "lpips": 0.08126}, "lpips_net": "alex"}
    rows = [metrics_row("DDS", measured, lpips=True), metrics_row("FDK", SUMMARY, lpips=True)]
    columns, _, *lines = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in markdown_table(rows).splitlines()
    )
    cells = [dict(zip(columns, line, strict=True)) for line in lines]
    assert cells[0]["axial LPIPS"] == "0.0813"
    assert cells[0]["coronal LPIPS"] == "-"  # a view that is too thin for it
    assert cells[1]["axial LPIPS"] == "not measured"


def test_csv(tmp_path):
    write_csv(tmp_path / "a.csv", [{"method": "A, B", "dB": 1 / 3, "s": None}, {"method": "C", "dB": 2.0, "s": 1}])
    assert (tmp_path / "a.csv").read_bytes().decode() == ('method,dB,s\r\n"A, B",0.3333333333333333,\r\nC,2.0,1\r\n')


@pytest.mark.parametrize("rows", [[], [{"a": 1}, {"b": 1}]])
def test_rows_must_agree(rows, tmp_path):
    with pytest.raises(ValueError, match="rows: found"):
        markdown_table(rows)
    with pytest.raises(ValueError, match="rows: found"):
        write_csv(tmp_path / "a.csv", rows)
