# SPDX-License-Identifier: Apache-2.0
"""From known volumes to the intervals of an ensemble: how much larger its errors are than its spread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

from monai.data import MetaTensor
from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.files import OWN
from monai_iscs.metrics import LEVEL, Intervals, body_mask, conformal_factor, coverage
from monai_iscs.reports import RunRecord
from monai_iscs.studies.measured import MeasuredVolume, middle_slices
from monai_iscs.workflows.calibration import Calibration, task_of
from monai_iscs.workflows.checkpoint import Checkpoint
from monai_iscs.workflows.pipeline import Pipeline
from monai_iscs.workflows.progress import Progress
from monai_iscs.workflows.sampler import Sampled, Sampler

# Beyond these, intervals of the same coverage become wider; in between, hardly any narrower.
SMOOTHINGS = (0.0, 1.0, 2.0, 4.0)  # voxels
FLOORS = (0.0, 0.25, 0.5, 1.0, 2.0)  # times the root mean square of the spread inside the body
MOST_VOXELS = 1_000_000  # of a volume: more take time, and change the third digit of a factor
FITTING = "fitting error / spread"  # name of the last stage, which no volume can have
SMALLEST = 1e-6  # of the prior's range: half-width where nothing varies, for the quotient


class Case(NamedTuple):
    """A known volume with its ensemble.

    Attributes:
        error: of the mean inside the body, (voxels,).
        half_width: of some intervals there, (voxels,).
        spread: root mean square of the ensemble's standard deviation there.
    """

    error: Tensor
    half_width: Callable[[Intervals], Tensor]
    spread: float


def calibrating_case(shared: MeasuredVolume, sampled: Sampled) -> Case:
    """A case from a known volume, on its own grid, and the ensemble of its measurement."""
    pipeline = shared.pipeline
    body = body_mask(pipeline.to_units(shared.volume), pipeline.display["tissue"], pipeline.slice_axis)

    step = -(-int(body.sum()) // MOST_VOXELS)

    def inside(volume: MetaTensor) -> Tensor:
        return volume.as_tensor().cpu()[body][::step]

    def half_width(intervals: Intervals) -> Tensor:
        return inside(shared.shown(intervals.half_width(sampled.std, pipeline.slice_axis))).clamp(min=SMALLEST)

    spread = float(inside(shared.shown(sampled.std)).double().square().mean().sqrt())
    return Case(inside(shared.shown(sampled.volume) - shared.volume), half_width, spread)


def fit_intervals(cases: Sequence[Case], level: float = LEVEL) -> Intervals:
    """The narrowest intervals, in the mean over the cases, that contain a share of the errors.

    Raises:
        InputError: ensembles without spread.
    """
    spread = (sum(case.spread**2 for case in cases) / len(cases)) ** 0.5
    if not spread > SMALLEST:
        raise InputError(f"samples: found a spread of {spread:.2g}, expected samples that differ")
    fitted = {}
    for smoothing, floor in product(SMOOTHINGS, FLOORS):
        form = Intervals(smoothing=smoothing, floor=floor * spread)
        widths = [case.half_width(form) for case in cases]
        factor = conformal_factor([case.error.abs() / width for case, width in zip(cases, widths, strict=True)], level)
        mean = factor * sum(float(width.double().mean()) for width in widths) / len(cases)
        fitted[mean] = Intervals(smoothing=smoothing, floor=form.floor, factor=factor)
    return fitted[min(fitted)]


def calibrate_volumes(
    pipeline: Pipeline,
    sampler: Sampler,
    volumes: Mapping[str, Path],
    slices: int | None,
    *,
    folder: Path,
    record: RunRecord,
    progress: Progress,
) -> tuple[Calibration, list[Checkpoint]]:
    """Simulate a scan of each volume, sample it, and find the intervals for this task.

    Args:
        pipeline: the bundle.
        sampler: with several samples.
        volumes: files by name; each has a stage of the progress.
        slices: how many in the middle of each, or None for all.
        folder: of unfinished runs: a call with the same arguments goes on from there.
        record: of the whole calibration.
        progress: gets each step.

    Returns:
        The calibration, and the checkpoints of the runs, to be removed when it is written.

    Raises:
        InputError: a volume cannot be used, or samples that do not differ.
    """
    cases: dict[str, Case] = {}
    checkpoints = []
    for number, (name, path) in enumerate(volumes.items()):
        with progress.stage(name):
            shared = MeasuredVolume(pipeline, middle_slices(pipeline.load(path), slices, pipeline.slice_axis))
            identity = pipeline.identity(record, path, shared.measured, sampler)
            checkpoint = Checkpoint(folder, identity, name=f"{OWN}unfinished_{number}.pt")
            checkpoints.append(checkpoint)
            cases[name] = calibrating_case(shared, shared.sample(sampler, progress.step, checkpoint))
    with progress.stage(FITTING):
        intervals = fit_intervals(list(cases.values()))
        found = Calibration(
            task=task_of(pipeline, sampler),
            intervals=intervals,
            level=LEVEL,
            coverage=coverages(cases, intervals),
            left_out=left_out_coverages(cases),
            about={"slices": slices, "versions": record.as_dict()["versions"]},
        )
    return found, checkpoints


def coverages(cases: Mapping[str, Case], intervals: Intervals) -> dict[str, float]:
    """The share of each volume's errors that intervals contain."""
    return {name: coverage(case.error, case.half_width(intervals)) for name, case in cases.items()}


def left_out_coverages(cases: Mapping[str, Case], level: float = LEVEL) -> dict[str, float]:
    """The same by the intervals that the other volumes give; empty for a single volume."""
    found = {}
    for name, case in cases.items():
        others = [other for known, other in cases.items() if known != name]
        if others:
            found |= coverages({name: case}, fit_intervals(others, level))
    return found
