# SPDX-License-Identifier: Apache-2.0
"""Curves over the sampler's steps, after Fig. 5 of the ISCS paper."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from monai_iscs.errors import InputError
from monai_iscs.metrics import VIEWS

COLUMNS = len(VIEWS)
PANELS = {
    **{f"{view}_psnr": f"{view} PSNR, dB" for view in VIEWS},
    **{f"{view}_ssim": f"{view} SSIM" for view in VIEWS},
    **{f"{view}_lpips": f"{view} LPIPS" for view in VIEWS},
    "slice_difference": "slice difference",
    "slice_gap": "slice difference \N{MINUS SIGN} reference's",
    "data_residual": "data residual \N{DOUBLE VERTICAL LINE}Ax \N{MINUS SIGN} y\N{DOUBLE VERTICAL LINE} / "
    "\N{DOUBLE VERTICAL LINE}y\N{DOUBLE VERTICAL LINE}",
}


def step_curves(records_by_method: Mapping[str, Sequence[Mapping[str, Any]]], path: str | os.PathLike[str]) -> None:
    """Draw the results of each step against its sigma, which decreases from left to right.

    Methods with different numbers of steps share the axis. A metric that no method measured has no panel.

    Args:
        records_by_method: name -> `StepRecorder.records`.
        path: file to write; its ending selects the format.

    Raises:
        InputError: for a method without steps, or nothing to draw.
    """
    empty = [name for name, records in records_by_method.items() if not records]
    if empty:
        raise InputError(f"records_by_method: found {empty} without steps, expected at least one step of each method")
    shown = [key for key in PANELS if any(_finite(r[key]) for records in records_by_method.values() for r in records)]
    if not shown:
        raise InputError(f"records_by_method: found no numbers of {list(records_by_method)}, expected some to draw")
    rows = math.ceil(len(shown) / COLUMNS)
    figure = Figure((3.6 * COLUMNS, 2.6 * rows + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, COLUMNS, squeeze=False, sharex=True)
    for axis, key in zip(axes.flat, shown, strict=False):
        for name, records in records_by_method.items():
            known = [record for record in records if _finite(record[key])]
            axis.plot([r["sigma"] for r in known], [r[key] for r in known], marker=".", label=name)
        if key == "slice_gap":
            axis.axhline(0, color="grey", linewidth=0.8)
        if key == "data_residual":
            axis.set_yscale("log")
        axis.set_title(PANELS[key], fontsize=10)
        axis.grid(alpha=0.3)
        axis.tick_params(labelbottom=True)
        axis.set_xlabel("sigma", fontsize=9)
    for axis in axes.flat[len(shown) :]:
        axis.remove()
    axes[0, 0].set_xscale("log")
    axes[0, 0].invert_xaxis()
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    figure.savefig(path, dpi=120)


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
