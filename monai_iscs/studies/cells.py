# SPDX-License-Identifier: Apache-2.0
"""The cells of a benchmark on disk: which are done, and which a changed setting makes outdated."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import LoadImage

from monai_iscs.reports import RunFolder, RunRecord, read_results, write_csv, write_json, write_volume

RESULTS = ("reconstruction.nii.gz", "metrics.json", "steps.csv")


@dataclass(frozen=True)
class Cell:
    """One reconstruction of a benchmark: a volume by a method with a seed.

    Attributes:
        volume: name of the volume.
        label: name of the method.
        seed: of the sampler.
        folder: of its files.
        settings: everything that its result depends on, as JSON values.
    """

    volume: str
    label: str
    seed: int
    folder: Path
    settings: Mapping[str, Any]

    @property
    def done(self) -> bool:
        """Whether its result is there, complete, and made with exactly these settings."""
        run = read_results(self.folder)
        if run is None or not isinstance(run.get("seconds"), dict) or "metrics.json" not in run["files"]:
            return False
        return run.get("settings") == json.loads(json.dumps(self.settings, default=str))

    def write(
        self, result: MetaTensor, summary: Mapping[str, Any], record: RunRecord, steps: Sequence[Mapping[str, Any]]
    ) -> None:
        """Write a result: volume in the figure's units, where it is compared, metrics, a sampler's steps, the run."""
        with RunFolder(self.folder).results() as stage:
            write_volume(stage / "reconstruction.nii.gz", result)
            write_json(stage / "metrics.json", summary)
            if steps:
                write_csv(stage / "steps.csv", steps)
            write_json(stage / "run.json", record.as_dict())

    def write_metrics(self, summary: Mapping[str, Any]) -> None:
        """Replace the metrics of a written result."""
        with RunFolder(self.folder).results() as stage:
            for name in (*read_results(self.folder)["files"], "run.json"):
                shutil.copyfile(self.folder / name, stage / name)
            write_json(stage / "metrics.json", summary)

    def metrics(self) -> dict[str, Any]:
        """The metrics, with the seconds of the reconstruction."""
        seconds = json.loads((self.folder / "run.json").read_text())["seconds"]["reconstructing"]
        return {**json.loads((self.folder / "metrics.json").read_text()), "seconds": seconds}

    def steps(self) -> list[dict[str, float | None]]:
        """The metrics of each step of a sampler, as in `StepRecorder.records`; empty for other methods."""
        file = self.folder / "steps.csv"
        if not file.exists():
            return []
        rows = csv.DictReader(file.read_text().splitlines())
        return [{key: float(value) if value else None for key, value in row.items()} for row in rows]

    def volume_on_disk(self) -> torch.Tensor:
        """The reconstruction, (X, Y, Z)."""
        return LoadImage(image_only=True)(self.folder / "reconstruction.nii.gz").as_tensor()
