# SPDX-License-Identifier: Apache-2.0
"""Result tables in Markdown and CSV."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DIGITS = {
    "dB": 2,
    "SSIM": 4,
    "gap": 5,
    "excess": 5,
    "s": 1,
    "recovered": 2,
    "CNR": 2,
    "kept": 2,
    "HU": 1,
    "1/mm": 3,
    "share": 3,
}  # by the last word of a column's name


def metrics_row(
    method: str, summary: Mapping[str, Any], *, seconds: float | None = None, lpips: bool = False
) -> dict[str, Any]:
    """A table row for one method.

    Args:
        method: its name.
        summary: the result of `monai_iscs.metrics.summarise`.
        seconds: of the reconstruction.
        lpips: with LPIPS of each view; "not measured" if the summary has none.
    """
    row: dict[str, Any] = {"method": method}
    for view in ("axial", "coronal", "sagittal"):
        row[f"{view} dB"] = summary[view]["psnr"]
        row[f"{view} SSIM"] = summary[view]["ssim"]
        if lpips:
            measured = summary["lpips_net"] is not None
            row[f"{view} LPIPS"] = summary[view]["lpips"] if measured else "not measured"
    row["slice gap"] = summary["slice_difference"]["gap"]
    row["s"] = seconds
    return row


def _cell(column: str, value: Any) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value).replace("|", "\\|")
    sign = "+" if column.endswith("gap") else ""
    return f"{value:{sign}.{DIGITS.get(column.split()[-1], 4)}f}"


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows or any(list(row) != list(rows[0]) for row in rows):
        raise ValueError(f"rows: found columns {[list(row) for row in rows]}, expected the same ones in every row")
    return list(rows[0])


def write_csv(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table as CSV at full precision.

    Args:
        path: file to write.
        rows: as for `markdown_table`; None becomes an empty cell.

    Raises:
        ValueError: for no rows or rows with different columns.
    """
    columns = _columns(rows)
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table, aligned for reading as plain text too.

    Args:
        rows: mappings with the same columns in the same order; None is shown as "-".

    Raises:
        ValueError: for no rows or rows with different columns.
    """
    columns = _columns(rows)
    cells = [columns, *([_cell(column, row[column]) for column in columns] for row in rows)]
    widths = [max(3, *(len(line[i]) for line in cells)) for i in range(len(columns))]
    numeric = [not any(isinstance(row[column], str) for row in rows) for column in columns]
    lines = [
        "| " + " | ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in zip(line, widths, numeric, strict=True)) + " |"
        for line in cells
    ]
    rule = ["-" * (w - 1) + ":" if n else "-" * w for w, n in zip(widths, numeric, strict=True)]
    return "\n".join([lines[0], "| " + " | ".join(rule) + " |", *lines[1:]]) + "\n"
