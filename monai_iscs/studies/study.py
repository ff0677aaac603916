# SPDX-License-Identifier: Apache-2.0
"""The cells of one benchmark, and the runs of the missing ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from monai.data import MetaTensor
from monai.utils import convert_to_dst_type

from monai_iscs.errors import InputError, OutputError, causes, explain
from monai_iscs.methods import Method
from monai_iscs.metrics import SliceLPIPS
from monai_iscs.reports import (
    RECORD,
    RunFolder,
    RunRecord,
)
from monai_iscs.sampling import State
from monai_iscs.studies.cells import RESULTS, Cell
from monai_iscs.studies.drawing import DRAWINGS, FIGURES, draw, is_drawn, shown_cells
from monai_iscs.studies.known import Spheres, compare, insert_spheres
from monai_iscs.studies.measured import MeasuredVolume, middle_slices
from monai_iscs.studies.suites import OWN, Row, Suite
from monai_iscs.transforms import ThickenSlices
from monai_iscs.workflows.fingerprint import fingerprint
from monai_iscs.workflows.pipeline import Pipeline
from monai_iscs.workflows.progress import Progress
from monai_iscs.workflows.sampler import Sampler


class Study:
    """Volumes by methods by seeds.

    Args:
        pipeline: the bundle.
        suite: what to compare.
        rows: the suite's methods.
        seeds: of the samplers; classical methods run once.
        volumes: files by name.
        slices: how many central slices of each volume are used, or None for all.
        output: folder of the cells.
        lpips: measures LPIPS, or None.
        weights: fingerprint of the bundle's models, or None if it has none.

    Attributes:
        cells: each volume's cells with their rows.
        failures: messages of errors, by volume, label and seed; the seed is None for the volume's figures.

    Raises:
        InputError: a result would overwrite a volume.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        suite: Suite,
        rows: Sequence[Row],
        seeds: Sequence[int],
        volumes: dict[str, Path],
        slices: int | None,
        output: Path,
        lpips: SliceLPIPS | None,
        weights: str | None,
    ) -> None:
        self.pipeline, self.suite, self.rows, self.volumes, self.output = pipeline, suite, rows, volumes, output
        self.slices = slices
        self.lpips = lpips
        self._samplers: dict[Path, Sampler] = {}  # by the cells' folders
        self._contents = {name: fingerprint(path) for name, path in volumes.items()}
        self.cells: dict[str, list[tuple[Cell, Row]]] = {
            name: [
                (self._cell(name, content, weights, row, seed), row)
                for row in rows
                for seed in (seeds if row.noise is not None else seeds[:1])
            ]
            for name, content in self._contents.items()
        }
        self.failures: dict[tuple[str, str, int | None], str] = {}
        self._repair()

    def _cell(self, name: str, content: str, weights: str | None, row: Row, seed: int) -> Cell:
        slug = "".join(c if c.isalnum() or c in ".-" else "_" for c in row.label)
        folder = self.output / name / slug / f"seed_{seed}"
        sampler = None
        if row.noise is not None:
            changes = {**row.changes, "seed": seed}
            method = None if row.method == OWN else Method(row.method, row.noise)
            sampler = self._samplers[folder] = self.pipeline.sampler(method, changes=changes)
        settings = {
            "input": name,
            "input_sha256": content,
            "method": row.method,
            "slices": self.slices,
            "thickness_mm": row.thickness,
            "lesions": asdict(self.suite.lesions) if self.suite.lesions else None,
            **self.pipeline.settings(sampler),
        }
        settings["bundle"] = self.pipeline.folder.name
        if self.suite.edges:
            settings["edges"] = asdict(self.suite.edges)
        if any(settings.get(noise) for noise in ("photons", "noise_std", "measurement_noise")):
            settings["measurement_seed"] = self.pipeline.measurement_seed
        if sampler is not None:
            settings |= {"seed": seed, "models_sha256": weights}
        return Cell(name, row.label, seed, folder, settings)

    def steps(self, cell: Cell) -> int:
        """Number of steps of a cell's sampler; 0 for a baseline."""
        return self._samplers[cell.folder].steps if cell.folder in self._samplers else 0

    def _repair(self) -> None:
        """Removes what a killed benchmark left in the folders, and checks that they can be written."""
        cells = {cell.folder: (RECORD, RESULTS) for cell, _ in self.all()}
        figures = {self.output / name: (FIGURES, DRAWINGS) for name in self.volumes}
        for path, (record, names) in {**figures, **cells}.items():
            if path.is_dir():
                with RunFolder(path, record=record, inputs=self.volumes.values()) as folder:
                    folder.expect(*names, ours=True)

    def run(self) -> None:
        """Fill the missing cells, volume by volume; then draw the volume's figures."""
        missing = {name: [(c, r) for c, r in cells if not self._complete(c)] for name, cells in self.cells.items()}
        steps = {
            self._stage(cell): 1 if row.noise is None or cell.done else self._samplers[cell.folder].calls
            for cells in missing.values()
            for cell, row in cells
        }
        if not steps and all(map(self._drawn, self.cells)):
            return
        total = RunRecord({}, seed=0, device=self.pipeline.device)
        with Progress(steps, total) as progress:
            for name, cells in missing.items():
                for thickness in dict.fromkeys(row.thickness for _, row in cells):
                    self._run_volume(name, [(c, r) for c, r in cells if r.thickness == thickness], progress)
                if not self._drawn(name):
                    try:
                        self._draw(name)
                    except Exception as error:
                        self._note((name, "figures", None), error)

    def _complete(self, cell: Cell) -> bool:
        """Whether a cell has its result and, if LPIPS is measured, its LPIPS."""
        return cell.done and (self.lpips is None or cell.metrics()["lpips_net"] == self.lpips.net)

    def _stage(self, cell: Cell) -> str:
        return f"{cell.volume}: {cell.label}, seed {cell.seed}"

    def _run_volume(self, name: str, cells: Sequence[tuple[Cell, Row]], progress: Progress) -> None:
        """Cells that share a measurement."""
        try:
            volume = self._load(name)
            if cells[0][1].thickness is not None:
                volume = ThickenSlices(cells[0][1].thickness)(volume)
            volume, spheres = insert_spheres(volume, self.suite, self.pipeline)
            shared = MeasuredVolume(self.pipeline, volume)
        except Exception as error:
            for cell, _ in cells:
                self._note((cell.volume, cell.label, cell.seed), error)
                with progress.stage(self._stage(cell)):
                    pass
            return
        for cell, row in cells:
            record = RunRecord(cell.settings, seed=cell.seed, device=self.pipeline.device)
            with progress.stage(self._stage(cell)):
                try:
                    if cell.done:
                        residual = cell.metrics()["data_residual"]
                        cell.write_metrics(self._compare(shared, self._kept(cell, shared), residual, spheres))
                        continue
                    result, steps = self._reconstruct(shared, cell, row, record, progress)
                    with record.stage("comparing"):
                        residual, result = shared.residual(result), shared.shown(result)
                        summary = self._compare(shared, result, residual, spheres)
                    cell.write(self.pipeline.to_units(result), summary, record, steps)
                except Exception as error:
                    self._note((cell.volume, cell.label, cell.seed), error)

    def _load(self, name: str) -> MetaTensor:
        path = self.volumes[name]
        volume = self.pipeline.load(path)
        if fingerprint(path) != self._contents[name]:
            raise InputError(f"{path}: found a file that changed while the benchmark ran, expected it to stay the same")
        return middle_slices(volume, self.slices, self.pipeline.slice_axis)

    def _reconstruct(
        self, shared: MeasuredVolume, cell: Cell, row: Row, record: RunRecord, progress: Progress
    ) -> tuple[MetaTensor, list[dict[str, Any]]]:
        """The result of a cell, and its steps; the time to measure the steps does not count as reconstructing."""
        if row.noise is None:
            with record.stage("reconstructing"):
                return shared.baseline(row.method), []
        sampler = self._samplers[cell.folder]
        recorder = shared.recorder(sampler)

        def step(state: State) -> None:
            with record.stage("comparing steps"):
                recorder(state)
            progress.step()

        with record.stage("reconstructing"):
            result = shared.sample(sampler, step).volume
        record.seconds["reconstructing"] -= record.seconds["comparing steps"]
        return result, recorder.records

    def _kept(self, cell: Cell, shared: MeasuredVolume) -> MetaTensor:
        """An earlier result in the prior's units."""
        low, high = self.pipeline.range
        return convert_to_dst_type((cell.volume_on_disk()[None] - low) / (high - low), shared.volume)[0]

    def _compare(self, shared: MeasuredVolume, result: MetaTensor, residual: float, spheres: Spheres) -> dict[str, Any]:
        return {**compare(result, shared.volume, spheres, self.pipeline, self.lpips), "data_residual": residual}

    def _note(self, what: tuple[str, str, int | None], error: Exception) -> None:
        """Shows an error of a cell in the table; the other cells go on.

        A defect of the program, and a folder that can't be written, are raised.
        """
        message = explain(error)
        if message is None or any(isinstance(cause, OutputError) for cause in causes(error)):
            raise error
        self.failures[what] = message

    def all(self) -> Iterator[tuple[Cell, Row]]:
        """All cells, volume by volume."""
        for cells in self.cells.values():
            yield from cells

    def _shown(self, name: str) -> dict[str, Cell]:
        return shown_cells(cell for cell, row in self.cells[name] if row.thickness is None)

    def _drawn(self, name: str) -> bool:
        return is_drawn(self.output / name, self._shown(name))

    def _draw(self, name: str) -> None:
        volume, _ = insert_spheres(self._load(name), self.suite, self.pipeline)
        draw(self.output / name, self._shown(name), self.pipeline, self.pipeline.measure(volume).reference)
