# SPDX-License-Identifier: Apache-2.0
"""One figure of noise power, modulation transfer, contrast of lesions and Fourier ring correlation."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from monai_iscs.errors import InputError
from monai_iscs.reports.benchmark import kept_contrasts

STYLES = (":", "-", "--", "-.")  # of the lesions' contrasts, weakest first


def quality_figure(quality_by_method: Mapping[str, Mapping[str, Any]], path: str | os.PathLike[str]) -> None:
    """Draw a panel for each metric, with one colour for each method.

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
    figure = Figure((10.5, 7.6), layout="constrained")
    FigureCanvasAgg(figure)
    ((noise, transfer), (lesions, rings)) = figure.subplots(2, 2)
    for index, (name, quality) in enumerate(quality_by_method.items()):
        colour = f"C{index}"
        power = quality["noise_power"]  # ring 0 holds the patch's mean, which was subtracted
        noise.plot(power["frequency"][1:], power["power"][1:], color=colour, marker=".", label=name)
        transfer.plot(quality["modulation"]["frequency"], quality["modulation"]["mtf"], color=colour)
        kept = kept_contrasts(quality["lesions"])
        for contrast, style in zip(dict.fromkeys(c for c, _ in kept), STYLES, strict=False):
            line = {diameter: share for (c, diameter), share in kept.items() if c == contrast}
            label = f"{contrast:g} HU" if index == 0 else None
            lesions.plot(line.keys(), line.values(), style, color=colour, marker=".", label=label)
        found = quality["ring_correlation"]
        rings.plot(found["frequency"], found["below"], color=colour, marker=".")
        rings.axvline(found["limit"], color="grey", linewidth=0.8)
    noise.set(title="noise power of the error in soft tissue", ylabel="HU² mm²", yscale="log")
    transfer.set(title="modulation transfer at edges of bone", ylabel="MTF", ylim=(0, None))
    lesions.set(title="contrast kept of known lesions", xlabel="diameter, mm", ylabel="share of the contrast")
    rings.set(
        title="Fourier ring correlation with the truth (grey: suspect below)",
        ylabel="share of patches that agree less far",
    )
    transfer.axhline(0.5, color="grey", linewidth=0.8)
    lesions.axhline(1, color="grey", linewidth=0.8)
    for axis in (noise, transfer, rings):
        axis.set_xlabel("spatial frequency, 1/mm")
        axis.set_xlim(0)
    for axis in (noise, transfer, lesions, rings):
        axis.grid(alpha=0.3)
    legend = lesions.legend()
    for line in legend.get_lines():
        line.set_color("grey")
    figure.legend(*noise.get_legend_handles_labels(), loc="outside upper center", ncols=5)
    figure.savefig(path, dpi=120)
