# SPDX-License-Identifier: Apache-2.0
"""The figures of a benchmark's volume, and whether they are up to date."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing

from monai_iscs.files import sha256
from monai_iscs.reports import (
    RECORD,
    RunFolder,
    psnr_curve,
    quality_figure,
    read_results,
    step_curves,
    three_view_figure,
    write_json,
)
from monai_iscs.studies.cells import Cell
from monai_iscs.workflows.pipeline import Pipeline

FIGURES, DRAWINGS = "figures.json", ("comparison.png", "psnr_along_z.png", "steps.png", "image_quality.png")


def shown_cells(cells: Iterable[Cell]) -> dict[str, Cell]:
    """The cells in a volume's figures by method: the first finished seed of each."""
    shown: dict[str, Cell] = {}
    for cell in cells:
        if cell.done:
            shown.setdefault(cell.label, cell)
    return shown


def is_drawn(folder: Path, cells: Mapping[str, Cell]) -> bool:
    """Whether a volume's figures are there and up to date with these cells."""
    drawn = read_results(folder, FIGURES)
    return not cells or (drawn is not None and drawn.get("cells") == _records(cells))


def draw(folder: Path, cells: Mapping[str, Cell], pipeline: Pipeline, volume: MetaTensor) -> None:
    """Draw the comparison, the PSNR along z, the steps and the image quality of a volume, as far as measured.

    Args:
        folder: of the figures.
        cells: to draw, by method.
        pipeline: the bundle.
        volume: the reference, (1, X, Y, Z) in the prior's units.
    """
    spacing = affine_to_spacing(volume.affine).tolist()
    truth = pipeline.to_units(volume)[0]
    images = {label: cell.volume_on_disk() for label, cell in cells.items()}
    metrics = {label: cell.metrics() for label, cell in cells.items()}
    with RunFolder(folder, record=FIGURES).results() as stage:
        three_view_figure(images, truth, spacing, stage / "comparison.png", metrics=metrics, **pipeline.display)
        psnr_curve(images, truth, spacing, stage / "psnr_along_z.png", axis=pipeline.slice_axis)
        if steps := {label: records for label, cell in cells.items() if (records := cell.steps())}:
            step_curves(steps, stage / "steps.png")
        if quality := {label: found["quality"] for label, found in metrics.items() if "quality" in found}:
            quality_figure(quality, stage / "image_quality.png")
        write_json(stage / FIGURES, {"cells": _records(cells)})


def _records(cells: Mapping[str, Cell]) -> dict[str, str]:
    """The hash of each cell's record by method, to see changes."""
    return {label: sha256(cell.folder / RECORD) for label, cell in cells.items()}
