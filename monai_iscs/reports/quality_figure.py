# SPDX-License-Identifier: Apache-2.0
"""One figure of noise power, modulation transfer, contrast of lesions and Fourier ring correlation."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from monai_iscs.errors import InputError
from monai_iscs.reports.benchmark import lesion_means

CURVES = ("noise", "transfer", "rings")


def quality_figure(quality_by_method: Mapping[str, Mapping[str, Any]], path: str | os.PathLike[str]) -> None:
    """Draw a panel for each metric, and two for each contrast of the lesions, with one colour for each method.

    Bars are standard errors of the mean over places; a share of contrast far from 0 to 1 is outside of its panel.

    Args:
        quality_by_method: name -> "quality" of a benchmark's metrics: "noise_power" as from
            `monai_iscs.metrics.noise_power`, "modulation" (`modulation_transfer`), "ring_correlation", and "lesions"
            (`measure_lesions`) with contrasts in HU.
        path: file to write; its ending selects the format.

    Raises:
        InputError: nothing to draw.
    """
    if not quality_by_method:
        raise InputError("quality_by_method: found none, expected at least one method to draw")
    shares = _by_title(quality_by_method, "recovered", "contrast kept, ±{:g} HU")
    panels = shares | _by_title(quality_by_method, "cnr", "contrast-to-noise, ±{:g} HU")
    figure = Figure((3.6 * max(len(panels), len(CURVES)), 7.2), layout="constrained")
    FigureCanvasAgg(figure)
    rows = [[name for name in CURVES for _ in panels], [title for title in panels for _ in CURVES]]
    axes = figure.subplot_mosaic(rows)
    noise, transfer, rings = (axes[name] for name in CURVES)
    for name, quality in quality_by_method.items():
        power, modulation, found = (quality[key] for key in ("noise_power", "modulation", "ring_correlation"))
        # ring 0 holds the patches' means, which were subtracted
        noise.plot(power["frequency"][1:], power["power"][1:], marker=".", label=name)
        transfer.plot(modulation["frequency"], modulation["mtf"], label=name)
        rings.plot(found["frequency"], found["below"], marker=".", label=name)
        limit = found["limit"]
    rings.axvline(limit, color="grey", linewidth=0.8)
    rings.text(limit, 1, "suspect ", ha="right", va="top", color="grey")
    noise.set(title="noise power of the error in soft tissue", ylabel="HU² mm²", yscale="log")
    transfer.set(title="modulation transfer at edges of bone", ylabel="MTF", ylim=(0, None))
    transfer.axhline(0.5, color="grey", linewidth=0.8)
    rings.set(title="Fourier ring correlation with the truth", ylabel="share of patches that agree less far")
    for axis in (noise, transfer, rings):
        axis.set_xlabel("spatial frequency, 1/mm")
        axis.set_xlim(0)
    for title, methods in panels.items():
        axis = axes[title]
        for name, found in methods.items():
            means, errors = zip(*found.values(), strict=True)
            axis.errorbar(found.keys(), means, errors, marker=".", elinewidth=0.8, capsize=2, label=name)
        axis.axhline(0, color="grey", linewidth=0.8)
        axis.set(title=title, xlabel="diameter of the lesion, mm")
        if title in shares:
            axis.axhline(1, color="grey", linewidth=0.8)
            axis.set(ylim=(-0.5, 1.7), ylabel="share")
    for axis in axes.values():
        axis.grid(alpha=0.3)
    figure.legend(*noise.get_legend_handles_labels(), loc="outside upper center", ncols=6)
    figure.savefig(path, dpi=120)


def _by_title(
    quality_by_method: Mapping[str, Mapping[str, Any]], value: str, title: str
) -> dict[str, dict[str, dict[float, tuple[float, float]]]]:
    """Means and standard errors of a result for lesions, by title with the contrast, method and diameter."""
    panels: dict[str, dict[str, dict[float, tuple[float, float]]]] = {}
    for name, quality in quality_by_method.items():
        for (contrast, diameter), found in lesion_means(quality["lesions"], value).items():
            panels.setdefault(title.format(contrast), {}).setdefault(name, {})[diameter] = found
    return panels
