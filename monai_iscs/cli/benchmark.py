# SPDX-License-Identifier: Apache-2.0
"""``monai-iscs benchmark``: methods by volumes, one table."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing

from monai_iscs.cli.cells import Cell, fingerprint
from monai_iscs.cli.entry import explain
from monai_iscs.cli.lpips import choose_lpips
from monai_iscs.cli.measured import MeasuredVolume
from monai_iscs.cli.names import CHOICES
from monai_iscs.cli.pipeline import Pipeline
from monai_iscs.cli.progress import Progress
from monai_iscs.cli.suites import SUITES, Row, Suite, parse_method
from monai_iscs.errors import InputError
from monai_iscs.metrics import SliceLPIPS, measure_lesions, summarise
from monai_iscs.reports import (
    LAYOUTS,
    RunFolder,
    RunRecord,
    averaged_row,
    empty_row,
    markdown_table,
    psnr_curve,
    step_curves,
    three_view_figure,
    write_csv,
    write_json,
)
from monai_iscs.sampling import Step
from monai_iscs.transforms import InsertLesions, Lesion, ThickenSlices

OPTIONS = ("views", "arc", "photons", "factor", "preset", "steps", "eta", "smoothing")
FAILED = "failed"


def benchmark(arguments: Namespace) -> None:
    """Runs the verb.

    Raises:
        InputError: something in the arguments cannot be used. What goes wrong in one cell is told in the table.
    """
    names = _names(arguments.volumes)
    lpips, missing = choose_lpips(arguments.lpips)
    overrides = {option: getattr(arguments, option) for option in OPTIONS}
    pipeline = Pipeline(
        arguments.bundle,
        device=arguments.device,
        overrides={**overrides, "seed": arguments.seed},
        over=arguments.config,
    )
    suite = _suite(arguments, pipeline)
    rows = suite.rows(pipeline.config.get("baselines", []))
    seeds = range(arguments.seed, arguments.seed + (arguments.seeds or suite.seeds))
    folder = RunFolder(arguments.output)
    volumes = dict(zip(names, arguments.volumes, strict=True))
    study = _Study(pipeline, suite, rows, seeds, volumes, folder.path, lpips)
    try:
        study.run()
    finally:
        title = f"{suite.title}, {pipeline.folder.name}"
        with folder.results() as stage:
            write_json(stage / "results.json", {"title": title, "cells": study.records()})
            table = study.tables(title)
            (stage / "table.md").write_text(table)
            if runs := study.runs():
                write_csv(stage / "table.csv", runs)
    print(f"\n{table}")
    if missing is not None:
        print(f"LPIPS was not measured. {missing}")
    print(f"{folder.path.resolve()}: table.md, table.csv, results.json; a folder with figures for each volume")


def _names(volumes: Sequence[Path]) -> list[str]:
    names = [path.resolve().name.split(".")[0] for path in volumes]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two volumes are called {name}, expected different names: their results share a folder")
    return names


def _suite(arguments: Namespace, pipeline: Pipeline) -> Suite:
    if arguments.methods is None:
        return SUITES[arguments.suite or "table1"]
    rows = [parse_method(method) for method in arguments.methods]
    for row in rows:
        if row.method in CHOICES["baseline"] and row.method not in pipeline.config.get("baselines", []):
            raise InputError(f"method is {row.method!r}, which {pipeline.folder.name} has no use for")
    return Suite(title="Compared methods", rows=lambda _: rows)


class _Study:
    """The cells of one benchmark: runs those that are missing, and tells what all of them say."""

    def __init__(
        self,
        pipeline: Pipeline,
        suite: Suite,
        rows: Sequence[Row],
        seeds: Sequence[int],
        volumes: dict[str, Path],
        output: Path,
        lpips: SliceLPIPS | None,
    ) -> None:
        self.pipeline, self.suite, self.rows, self.volumes, self.output = pipeline, suite, rows, volumes, output
        self.lpips = lpips
        weights = fingerprint(pipeline.folder / "models") if (pipeline.folder / "models").is_dir() else None
        self.cells: dict[str, list[tuple[Cell, Row]]] = {
            name: [
                (self._cell(name, fingerprint(path), weights, row, seed), row)
                for row in rows
                for seed in (seeds if row.noise is not None else seeds[:1])
            ]
            for name, path in volumes.items()
        }
        self.failures: dict[tuple[str, str, int], str] = {}

    def _cell(self, name: str, content: str, weights: str | None, row: Row, seed: int) -> Cell:
        inferer = self._inferer(row, seed) if row.noise is not None else None
        settings = {
            "input": name,
            "input_sha256": content,
            "method": row.method,
            "thickness_mm": row.thickness,
            "lesions": asdict(self.suite.lesions) if self.suite.lesions else None,
            **self.pipeline.settings(inferer),
        }
        settings["bundle"] = self.pipeline.folder.name
        if inferer is not None:
            settings |= {"noise": row.noise, "changes": dict(row.changes), "seed": seed, "models_sha256": weights}
        slug = "".join(c if c.isalnum() or c in ".-" else "_" for c in row.label)
        return Cell(name, row.label, seed, self.output / name / slug / f"seed_{seed}", settings)

    def _inferer(self, row: Row, seed: int) -> Any:
        return self.pipeline.sampler(row.method, row.noise, changes={**row.changes, "seed": seed})

    def run(self) -> None:
        """Fill the missing cells, volume by volume; then draw the volume's figures."""
        missing = {name: [(c, r) for c, r in cells if not self._complete(c)] for name, cells in self.cells.items()}
        steps = {
            self._stage(cell): 1 if row.noise is None or cell.done else len(cell.settings["sampler"]["sigmas"])
            for cells in missing.values()
            for cell, row in cells
        }
        if not steps:
            return
        total = RunRecord({}, seed=0, device=self.pipeline.device)
        with Progress(steps, total) as progress:
            for name, cells in missing.items():
                if not cells:
                    continue
                for thickness in dict.fromkeys(row.thickness for _, row in cells):
                    self._run_volume(name, [(c, r) for c, r in cells if r.thickness == thickness], progress)
                self._draw(name)

    def _complete(self, cell: Cell) -> bool:
        """Whether a cell has its result and, where LPIPS is measured, its LPIPS."""
        return cell.done and (self.lpips is None or cell.metrics()["lpips_net"] == self.lpips.net)

    def _stage(self, cell: Cell) -> str:
        return f"{cell.volume}: {cell.label}, seed {cell.seed}"

    def _run_volume(self, name: str, cells: Sequence[tuple[Cell, Row]], progress: Progress) -> None:
        """Cells that share a measurement, and with it the operator and the start."""
        try:
            volume = self.pipeline.load(self.volumes[name])
            if cells[0][1].thickness is not None:
                volume = ThickenSlices(cells[0][1].thickness)(volume)
            volume, lesions = self._with_lesions(volume)
            shared = MeasuredVolume(self.pipeline, volume)
        except Exception as error:
            for cell, _ in cells:
                self._note(cell, error)
                with progress.stage(self._stage(cell)):
                    pass
            return
        for cell, row in cells:
            record = RunRecord(cell.settings, seed=cell.seed, device=self.pipeline.device)
            with progress.stage(self._stage(cell)):
                try:
                    if cell.done:
                        cell.write_metrics(self._compare(shared, self._kept(cell, shared), lesions))
                        continue
                    result, steps = self._reconstruct(shared, cell, row, record, progress)
                    with record.stage("comparing"):
                        summary = self._compare(shared, result, lesions)
                    cell.write(self.pipeline.to_units(result), summary, record, steps)
                except Exception as error:
                    self._note(cell, error)

    def _reconstruct(
        self, shared: MeasuredVolume, cell: Cell, row: Row, record: RunRecord, progress: Progress
    ) -> tuple[MetaTensor, list[dict[str, Any]]]:
        """The result of a cell, and what each step reached; measuring the steps is not counted as reconstructing."""
        if row.noise is None:
            with record.stage("reconstructing"):
                return shared.baseline(row.method), []
        inferer = self._inferer(row, cell.seed)
        recorder = shared.recorder(inferer)

        def step(state: Step) -> None:
            with record.stage("comparing steps"):
                recorder(state)
            progress.step()

        with record.stage("reconstructing"):
            result = shared.sample(inferer, step)
        record.seconds["reconstructing"] -= record.seconds["comparing steps"]
        return result, recorder.records

    def _kept(self, cell: Cell, shared: MeasuredVolume) -> MetaTensor:
        """An earlier result in the prior's units."""
        low, high = self.pipeline.range
        volume = (cell.volume_on_disk()[None] - low) / (high - low)
        return self.pipeline.place(volume, shared.measurement)

    def _compare(self, shared: MeasuredVolume, result: MetaTensor, lesions: Sequence[Lesion]) -> dict[str, Any]:
        summary = summarise(result, shared.volume, slice_axis=self.pipeline.slice_axis, lpips=self.lpips)
        summary["data_residual"] = shared.residual(result)
        if lesions:
            spacing = affine_to_spacing(shared.volume.affine).tolist()
            summary["lesions"] = measure_lesions(
                result[0].as_tensor(), shared.volume[0].as_tensor().to(result.device), lesions, spacing
            )
        return summary

    def _with_lesions(self, volume: MetaTensor) -> tuple[MetaTensor, list[Lesion]]:
        """The volume as it is, or with the suite's lesions; they are given in HU."""
        plan = self.suite.lesions
        if plan is None:
            return volume, []
        if self.pipeline.display["unit"] != "HU":
            raise InputError(f"the suite inserts lesions in HU, which {self.pipeline.folder.name} doesn't use")
        low, high = self.pipeline.range
        insert = InsertLesions(
            diameters=plan.diameters,
            contrasts=[contrast / (high - low) for contrast in plan.contrasts],
            tissue=tuple((value - low) / (high - low) for value in plan.tissue),
            repeats=plan.repeats,
        )
        return insert(volume)

    def _note(self, cell: Cell, error: Exception) -> None:
        """A failed cell is told in the table; the others go on. A defect of ours is no cell's fault: it is raised."""
        message = explain(error)
        if message is None:
            raise error
        self.failures[cell.volume, cell.label, cell.seed] = message

    def records(self) -> list[dict[str, Any]]:
        """All cells as JSON values."""
        return [
            {
                "volume": cell.volume,
                "method": cell.label,
                "seed": cell.seed,
                "settings": cell.settings,
                "metrics": cell.metrics() if cell.done else None,
                "error": self.failures.get((cell.volume, cell.label, cell.seed)),
            }
            for cell, _ in self._all()
        ]

    def _all(self) -> Iterator[tuple[Cell, Row]]:
        for cells in self.cells.values():
            yield from cells

    def runs(self) -> list[dict[str, Any]]:
        """One row for each finished cell."""
        return [
            {"volume": cell.volume, "seed": cell.seed, **LAYOUTS[self.suite.layout](cell.label, cell.metrics())}
            for cell, _ in self._all()
            if cell.done
        ]

    def tables(self, title: str) -> str:
        """The suite's table for each volume, and of all volumes' means where there are several; then the failures."""
        averages = {name: self._averages([cell for cell, _ in cells]) for name, cells in self.cells.items()}
        parts = [f"# {title}", self._caption()]
        if len(averages) > 1:
            cells = [cell for cell, _ in self._all()]
            parts += [f"## Mean of {len(averages)} volumes", markdown_table(self._averages(cells))]
        for name, rows in averages.items():
            parts += [f"## {name}", markdown_table(rows)]
        if self.failures:
            lines = [
                f"- {volume}, {label}, seed {seed}: {text}" for (volume, label, seed), text in self.failures.items()
            ]
            parts += ["## Failed", "\n".join(lines)]
        return "\n\n".join(part.rstrip() for part in parts) + "\n"

    def _caption(self) -> str:
        settings = self.pipeline.settings(None)
        shown = ", ".join(f"{key} {value}" for key, value in settings.items() if key != "bundle" and value is not None)
        return f"{shown}. PSNR in dB, SSIM at most 1; mean ± standard deviation over seeds (and volumes)."

    def _averages(self, cells: Sequence[Cell]) -> list[dict[str, Any]]:
        """A row for each method: of its finished cells, or that it failed or was not run."""
        rows = {}
        for row in self.rows:
            mine = [cell for cell in cells if cell.label == row.label]
            done = [LAYOUTS[self.suite.layout](row.label, cell.metrics()) for cell in mine if cell.done]
            failed = any((cell.volume, cell.label, cell.seed) in self.failures for cell in mine)
            rows[row.label] = averaged_row(done) if done and not failed else (FAILED if failed else None)
        finished = (LAYOUTS[self.suite.layout](cell.label, cell.metrics()) for cell, _ in self._all() if cell.done)
        columns = list(next(finished, ("method", "result")))
        return [
            row if isinstance(row, dict) else empty_row(label, columns, FAILED if row else None)
            for label, row in rows.items()
        ]

    def _draw(self, name: str) -> None:
        """The comparison and the PSNR along z of a volume, one column a method (its first seed)."""
        cells = {}
        for cell, row in self.cells[name]:
            if cell.done and row.thickness is None:
                cells.setdefault(cell.label, cell)
        if not cells:
            return
        volume = self.pipeline.measure(self.pipeline.load(self.volumes[name])).reference
        spacing = affine_to_spacing(volume.affine).tolist()
        truth = self.pipeline.to_units(volume)[0]
        images = {label: cell.volume_on_disk() for label, cell in cells.items()}
        with RunFolder(self.output / name).results() as stage:
            three_view_figure(
                images,
                truth,
                spacing,
                stage / "comparison.png",
                metrics={k: c.metrics() for k, c in cells.items()},
                **self.pipeline.display,
            )
            psnr_curve(images, truth, spacing, stage / "psnr_along_z.png", axis=self.pipeline.slice_axis)
            if steps := {label: records for label, cell in cells.items() if (records := cell.steps())}:
                step_curves(steps, stage / "steps.png")
