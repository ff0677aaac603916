# SPDX-License-Identifier: Apache-2.0
"""Tables of a benchmark's cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai_iscs.reports import LAYOUTS, averaged_row, empty_row, markdown_table
from monai_iscs.studies.cells import Cell
from monai_iscs.studies.study import Study

FAILED = "failed"


def records(study: Study) -> list[dict[str, Any]]:
    """All cells as JSON values."""
    return [
        {
            "volume": cell.volume,
            "method": cell.label,
            "seed": cell.seed,
            "settings": cell.settings,
            "metrics": cell.metrics() if cell.done else None,
            "error": study.failures.get((cell.volume, cell.label, cell.seed)),
        }
        for cell, _ in study.all()
    ]


def runs(study: Study) -> list[dict[str, Any]]:
    """One row for each finished cell."""
    done = [cell for cell, _ in study.all() if cell.done]
    rows = _rows(study, done)
    return [{"volume": cell.volume, "seed": cell.seed, **row} for cell, row in zip(done, rows, strict=True)]


def _rows(study: Study, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """The rows of finished cells, all with the same columns: LPIPS may have been measured for some only."""
    rows = [LAYOUTS[study.suite.layout](cell.label, cell.metrics()) for cell in cells]
    columns = max(rows, key=len, default={})
    return [{column: row.get(column) for column in columns} for row in rows]


def markdown(study: Study, title: str) -> str:
    """The suite's table for each volume, and for the mean of several volumes; then the failures."""
    averages = {name: _averages(study, [cell for cell, _ in cells]) for name, cells in study.cells.items()}
    parts = [f"# {title}", _caption(study)]
    if len(averages) > 1:
        cells = [cell for cell, _ in study.all()]
        parts += [f"## Mean of {len(averages)} volumes", markdown_table(_averages(study, cells))]
    for name, rows in averages.items():
        parts += [f"## {name}", markdown_table(rows)]
    if study.failures:
        lines = [
            f"- {volume}, {label}{'' if seed is None else f', seed {seed}'}: {text}"
            for (volume, label, seed), text in study.failures.items()
        ]
        parts += ["## Failed", "\n".join(lines)]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _caption(study: Study) -> str:
    settings = {**study.pipeline.settings(None), "steps": _steps(study), "central slices": study.slices}
    if "samples" in study.pipeline.config and (samples := study.pipeline.config.get_parsed_content("samples")) > 1:
        settings["samples"] = samples
    shown = ", ".join(f"{key} {value}" for key, value in settings.items() if key != "bundle" and value is not None)
    config = study.pipeline.config
    fine = "same_grid" in config and not config.get_parsed_content("same_grid")
    where = (
        "Simulated on the volumes' own grid, and compared there"
        if fine
        else "On the prior's grid, before the result is interpolated back to the file's"
    )
    return f"{shown}. {where}. {study.suite.legend}; mean ± standard deviation over seeds (and volumes)."


def _steps(study: Study) -> str | None:
    """The samplers' numbers of steps."""
    counts = {study.steps(cell) for cell, row in study.all() if row.noise is not None}
    return " or ".join(map(str, sorted(counts))) or None


def _averages(study: Study, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """A row for each method: from its finished cells, or that it failed or was not run."""
    finished = [cell for cell, _ in study.all() if cell.done]
    found = dict(zip((cell.folder for cell in finished), _rows(study, finished), strict=True))
    rows = {}
    for row in study.rows:
        mine = [cell for cell in cells if cell.label == row.label]
        done = [found[cell.folder] for cell in mine if cell.folder in found]
        failed = any((cell.volume, cell.label, cell.seed) in study.failures for cell in mine)
        rows[row.label] = averaged_row(done) if done and not failed else (FAILED if failed else None)
    columns = list(next(iter(found.values()), ("method", "result")))
    return [
        row if isinstance(row, dict) else empty_row(label, columns, FAILED if row else None)
        for label, row in rows.items()
    ]
