# SPDX-License-Identifier: Apache-2.0
"""The files of an ensemble: its spread and, where its task is calibrated, its intervals."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from monai.data import MetaTensor

from monai_iscs.metrics import body_mask, coverage
from monai_iscs.reports import ColouredMap, write_volume
from monai_iscs.workflows.calibration import Calibration
from monai_iscs.workflows.pipeline import Measured, Pipeline
from monai_iscs.workflows.sampler import Sampled

SPREAD, INTERVAL = "std.nii.gz", "interval.nii.gz"


class Spread(NamedTuple):
    """What is to be shown and kept of an ensemble.

    Attributes:
        maps: for the figure.
        metrics: how often the truth lies in the intervals; empty without intervals, or where nobody knows the truth.
    """

    maps: Mapping[str, ColouredMap]
    metrics: Mapping[str, Any]


def write_spread(
    stage: Path, pipeline: Pipeline, measured: Measured, sampled: Sampled, calibration: Calibration | None
) -> Spread:
    """Write the spread of an ensemble, and its intervals if they are calibrated, in the file's units, on its grid.

    Args:
        stage: the folder of the run's new results.
        pipeline: the bundle.
        measured: the measurement.
        sampled: the ensemble.
        calibration: of its task, or None.
    """
    unit = pipeline.display["unit"]
    write_volume(stage / SPREAD, pipeline.restore_difference(sampled.std, measured).clamp(min=0))
    if calibration is None:
        shown = pipeline.scaled(pipeline.shown(sampled.std, measured)).clamp(min=0)
        return Spread({"spread, no interval": ColouredMap(shown, f"standard deviation of the samples, {unit}")}, {})
    half_width = calibration.intervals.half_width(sampled.std, pipeline.slice_axis)
    write_volume(stage / INTERVAL, pipeline.restore_difference(half_width, measured).clamp(min=0))
    metrics, half_width = interval_metrics(pipeline, measured, sampled.volume, half_width)
    title = f"{calibration.level:.0%} interval, ±"
    shown = {title: ColouredMap(pipeline.scaled(half_width), f"half-width, {unit}")}
    return Spread(shown, {"interval": {"level": calibration.level, **metrics}} if metrics else {})


def interval_metrics(
    pipeline: Pipeline, measured: Measured, volume: MetaTensor, half_width: MetaTensor
) -> tuple[dict[str, float], MetaTensor]:
    """How often the truth is within a half-width of a result inside the body, and the half-width as it is shown.

    Args:
        pipeline: the bundle.
        measured: the measurement.
        volume: the result, as the sampler gives it.
        half_width: on the same grid.

    Returns:
        `coverage` and the mean `half_width`, in the units of the figures; nothing where nobody knows the truth.
    """
    shown = pipeline.shown(half_width, measured)
    reference = measured.reference
    if reference is None:
        return {}, shown
    body = body_mask(pipeline.to_units(reference), pipeline.display["tissue"], pipeline.slice_axis)
    error = (pipeline.shown(volume, measured) - reference).as_tensor().cpu()
    width = shown.as_tensor().cpu()
    mean = float(pipeline.scaled(width)[body].double().mean())
    return {"coverage": coverage(error[body], width[body]), "half_width": mean}, shown
