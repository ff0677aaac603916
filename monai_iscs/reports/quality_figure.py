# SPDX-License-Identifier: Apache-2.0
"""One figure of noise power, modulation transfer, contrast of lesions and Fourier ring correlation."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from monai_iscs.errors import InputError
from monai_iscs.reports.benchmark import kept_contrasts

COLUMNS = 3


def quality_figure(quality_by_method: Mapping[str, Mapping[str, Any]], path: str | os.PathLike[str]) -> None:
    """Draw a panel for each metric and each contrast of the lesions, with one colour for each method.

    Bars are standard errors of the mean over places; a share far from 0 to 1 is outside of its panel.

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
    kept = {name: kept_contrasts(quality["lesions"]) for name, quality in quality_by_method.items()}
    contrasts = sorted({contrast for shares in kept.values() for contrast, _ in shares})
    rows = math.ceil((COLUMNS + len(contrasts)) / COLUMNS)
    figure = Figure((4.2 * COLUMNS, 3.4 * rows + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, COLUMNS, squeeze=False).flat
    noise, transfer, rings, *lesions = axes
    for name, quality in quality_by_method.items():
        power, modulation, found = (quality[key] for key in ("noise_power", "modulation", "ring_correlation"))
        # ring 0 holds the patches' means, which were subtracted
        noise.plot(power["frequency"][1:], power["power"][1:], marker=".", label=name)
        transfer.plot(modulation["frequency"], modulation["mtf"], label=name)
        rings.plot(found["frequency"], found["below"], marker=".", label=name)
        rings.axvline(found["limit"], color="grey", linewidth=0.8)
    noise.set(title="noise power of the error in soft tissue", ylabel="HU² mm²", yscale="log")
    transfer.set(title="modulation transfer at edges of bone", ylabel="MTF", ylim=(0, None))
    transfer.axhline(0.5, color="grey", linewidth=0.8)
    rings.set(title="Fourier ring correlation with the truth", ylabel="share of patches that agree less far")
    for axis in (noise, transfer, rings):
        axis.set_xlabel("spatial frequency, 1/mm")
        axis.set_xlim(0)
    for axis, contrast in zip(lesions, contrasts, strict=False):
        for name, shares in kept.items():
            mine = {diameter: share for (c, diameter), share in shares.items() if c == contrast}
            means, errors = zip(*mine.values(), strict=True)
            axis.errorbar(mine.keys(), means, errors, marker=".", elinewidth=0.8, capsize=2, label=name)
        for level in (0, 1):
            axis.axhline(level, color="grey", linewidth=0.8)
        axis.set(title=f"contrast kept of lesions of ±{contrast:g} HU", xlabel="diameter, mm", ylim=(-0.5, 1.7))
        axis.set_ylabel("share of the contrast")
    for axis in axes[: COLUMNS + len(contrasts)]:
        axis.grid(alpha=0.3)
    for axis in axes[COLUMNS + len(contrasts) :]:
        axis.remove()
    figure.legend(*noise.get_legend_handles_labels(), loc="outside upper center", ncols=6)
    figure.savefig(path, dpi=120)
