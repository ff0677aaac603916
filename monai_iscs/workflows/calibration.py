# SPDX-License-Identifier: Apache-2.0
"""The calibrations of a bundle: what its intervals are for which task, and how often they were right."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from monai_iscs.errors import InputError
from monai_iscs.methods import Method
from monai_iscs.metrics import Intervals
from monai_iscs.workflows.bundle import bundle_names, find_bundle
from monai_iscs.workflows.names import OVERRIDES, SPEED
from monai_iscs.workflows.pipeline import Pipeline
from monai_iscs.workflows.sampler import Sampler

FILE = "calibration.json"  # in a bundle's folder configs
ENTRIES = "calibrations"


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Intervals for one task.

    Attributes:
        task: the recipe, the samples, the simulated scan and the model: the intervals are for no other task.
        intervals: their numbers, in the prior's units.
        level: share of the voxels inside the body whose true value they are to contain.
        coverage: of each calibrating volume, by name: the share that they do contain.
        left_out: the same with the numbers of the other volumes; empty for a single one.
        about: the rest of the record, such as versions.
    """

    task: Mapping[str, Any]
    intervals: Intervals
    level: float
    coverage: Mapping[str, float]
    left_out: Mapping[str, float]
    about: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """It as JSON values."""
        return _plain(asdict(self))

    def rows(self) -> list[dict[str, Any]]:
        """A table row for each volume: the coverages."""
        shares = self.coverage.items()
        return [{"volume": name, "coverage": share, "by the others": self.left_out.get(name)} for name, share in shares]

    def summary(self, pipeline: Pipeline) -> str:
        """The intervals in one line, in the units of the bundle's figures."""
        numbers, unit = self.intervals, pipeline.display["unit"]
        smooth = f"smoothed over {numbers.smoothing:g} voxels" if numbers.smoothing else "not smoothed"
        root = f"sqrt(spread² + ({pipeline.scaled(numbers.floor):.3g} {unit})²)"
        return f"{self.level:.0%} interval: mean ± {numbers.factor:.3g} · {root}, spread² {smooth}."

    @classmethod
    def of_dict(cls, found: Mapping[str, Any]) -> Calibration:
        """The calibration of `as_dict`.

        Raises:
            InputError: a number of the intervals out of range.
            TypeError, KeyError: something else.
        """
        return cls(**{**found, "intervals": Intervals(**found["intervals"])})


def task_of(pipeline: Pipeline, sampler: Sampler) -> dict[str, Any]:
    """All that the errors of a sampler's mean depend on beside the patient, as JSON values."""
    scan = {name: pipeline.config.get_parsed_content(name) for name in pipeline.config.get_parsed_content("settings")}
    recipe = {"name": sampler.name, **sampler.recipe.as_dict()}
    weights = pipeline.weights(sampler)
    told = pipeline.config.get_parsed_content("noise_level") if "noise_level" in pipeline.config else None
    task = {"recipe": recipe, "samples": sampler.samples, "scan": scan, "noise_level": told, "weights": weights}
    return _plain(task)


def read_calibrations(bundle: Path) -> list[Calibration]:
    """All calibrations of a bundle; none where it has no such file.

    Raises:
        InputError: a file that is damaged, or of another kind.
    """
    file = bundle / "configs" / FILE
    if not file.exists():
        return []
    try:
        return [Calibration.of_dict(entry) for entry in json.loads(file.read_text())[ENTRIES]]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{file}: found {' '.join(repr(error).split()):.100}, expected calibrations") from error


def find_calibration(pipeline: Pipeline, sampler: Sampler) -> Calibration | None:
    """The bundle's calibration of a sampler's task, or None."""
    task = task_of(pipeline, sampler)
    return next((known for known in read_calibrations(pipeline.folder) if known.task == task), None)


def with_calibration(bundle: Path, new: Calibration) -> dict[str, Any]:
    """The content of the bundle's file with a new calibration, which replaces one of the same task."""
    kept = [known for known in read_calibrations(bundle) if known.task != new.task]
    return {ENTRIES: [calibration.as_dict() for calibration in [*kept, new]]}


def interval_line(
    calibration: Calibration | None, pipeline: Pipeline, options: Mapping[str, Any], *, simulated: bool
) -> str:
    """What to say of the intervals of an ensemble.

    Args:
        calibration: of its task, or None.
        pipeline: of the run.
        options: of its command line, by name; None where one was not given.
        simulated: whether its scan was.
    """
    if calibration is not None:
        of = ", ".join(calibration.coverage)
        return (
            f"interval.nii.gz: ± this, for about {calibration.level:.0%} of the body's voxels on average, fewer in "
            f"bone; calibrated on {of}."
        )
    if not simulated:
        return "No interval: calibrations are of simulated scans, and their intervals may be too small for a real one."
    command = _calibrating_command(pipeline, options)
    return f"No interval: the bundle has no calibration of this task. This makes one: {command}"


def _calibrating_command(pipeline: Pipeline, options: Mapping[str, Any]) -> str:
    """The command that calibrates the task of a run with these options."""
    known = pipeline.folder.name in bundle_names() and find_bundle(pipeline.folder.name) == pipeline.folder
    words = ["monai-iscs calibrate VOLUME... --bundle", pipeline.folder.name if known else str(pipeline.folder)]
    for name in ("config", "method", *OVERRIDES):
        value = options.get(name)
        if value in (None, []) or name in (*SPEED, "seed", "measurement_seed"):
            continue
        values = value if isinstance(value, list) else [value]
        words += [f"--{name.replace('_', '-')}", *([] if value is True else [shlex.quote(_typed(v)) for v in values])]
    return " ".join([*words, "--output DIR"])


def _typed(value: Any) -> str:
    """A parsed value as it is typed."""
    if isinstance(value, Method):
        return value.text
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "none" if value == "$None" else str(value)


def _plain(content: Any) -> Any:
    """JSON values as they are read again."""
    return json.loads(json.dumps(content, default=str))
