# SPDX-License-Identifier: Apache-2.0
"""Tables of a benchmark: mean and spread over seeds and volumes, in Markdown and CSV."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from monai_iscs.reports.table import DIGITS, metrics_row


def slices_row(method: str, summary: Mapping[str, Any]) -> dict[str, Any]:
    """A row in the layout of the paper's Table 3: the slice difference and its gap to the reference's."""
    difference = summary["slice_difference"]
    return {
        "method": method,
        "SDiff recon": difference["reconstruction"],
        "SDiff GT": difference["reference"],
        "signed gap": difference["gap"],
        "absolute gap": abs(difference["gap"]),
    }


def views_row(method: str, summary: Mapping[str, Any]) -> dict[str, Any]:
    """A row in the layout of the paper's Table 1, with the signed gap of the slice difference and the seconds."""
    return metrics_row(method, summary, seconds=summary["seconds"], lpips=summary["lpips_net"] is not None)


def lesions_row(method: str, summary: Mapping[str, Any]) -> dict[str, Any]:
    """A row with the recovered contrast (1: all) and the contrast-to-noise ratio of the lesions of each diameter."""
    lesions = summary["lesions"]
    row: dict[str, Any] = {"method": method}
    for diameter in sorted({lesion["diameter"] for lesion in lesions}):
        mine = [lesion for lesion in lesions if lesion["diameter"] == diameter]
        row[f"{diameter:g} mm recovered"] = statistics.mean(lesion["recovered"] for lesion in mine)
        row[f"{diameter:g} mm CNR"] = statistics.mean(lesion["cnr"] for lesion in mine)
    return row


def lesion_means(
    lesions: Sequence[Mapping[str, Any]], value: str = "recovered"
) -> dict[tuple[float, float], tuple[float, float]]:
    """A result for lesions by (contrast without its sign, diameter), weakest and smallest first.

    Args:
        lesions: results of `monai_iscs.metrics.measure_lesions`.
        value: which one: "recovered" (1: all of the contrast) or "cnr".

    Returns:
        The mean and its standard error (0 for one lesion).
    """
    found: dict[tuple[float, float], list[float]] = {}
    for lesion in sorted(lesions, key=lambda lesion: (abs(lesion["inserted"]), lesion["diameter"])):
        found.setdefault((round(abs(lesion["inserted"]), 3), lesion["diameter"]), []).append(lesion[value])
    return {
        key: (statistics.mean(values), statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0)
        for key, values in found.items()
    }


def quality_row(method: str, summary: Mapping[str, Any]) -> dict[str, Any]:
    """A row with the error and its mean frequency, the MTF's half, the kept contrast of lesions, and the sFRC."""
    quality = summary["quality"]
    row: dict[str, Any] = {
        "method": method,
        "error HU": quality["noise_power"]["noise"],
        "NPS mean 1/mm": quality["noise_power"]["mean_frequency"],
        "MTF 50 % 1/mm": quality["modulation"]["mtf50"],
    }
    for (contrast, diameter), (kept, _) in lesion_means(quality["lesions"]).items():
        row[f"{contrast:g} HU, {diameter:g} mm kept"] = kept
    row["sFRC suspect share"] = quality["ring_correlation"]["suspect"]
    row["sFRC median 1/mm"] = quality["ring_correlation"]["median"]
    return row


LAYOUTS = {"views": views_row, "slices": slices_row, "lesions": lesions_row, "quality": quality_row}


def averaged_row(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One row of several runs: each column's mean, and its standard deviation for at least two."""
    result: dict[str, Any] = {}
    for column in rows[0]:
        values = [row[column] for row in rows]
        if isinstance(values[0], str):
            result[column] = values[0]
            continue
        numbers = [value for value in values if value is not None]
        if len(numbers) < 2 or column == "s":
            result[column] = statistics.mean(numbers) if numbers else None
            continue
        digits = DIGITS.get(column.split()[-1], 4)
        sign = "+" if column.endswith("gap") else ""
        result[column] = f"{statistics.mean(numbers):{sign}.{digits}f} ± {statistics.stdev(numbers):.{digits}f}"
    return result


def empty_row(method: str, columns: Sequence[str], text: str | None) -> dict[str, Any]:
    """The row of a method without a result: a text in each column, or None if it was not run."""
    return {column: method if column == "method" else text for column in columns}
