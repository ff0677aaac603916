# SPDX-License-Identifier: Apache-2.0
"""One input of `reconstruct`, from its file to the folder of its results."""

from __future__ import annotations

from argparse import Namespace
from glob import escape
from pathlib import Path

import ignite.distributed as idist
from monai.data.utils import affine_to_spacing

from monai_iscs.reports import (
    RunFolder,
    RunRecord,
    markdown_table,
    metrics_row,
    three_view_figure,
    write_json,
    write_volume,
)
from monai_iscs.scans.meta import projections_of
from monai_iscs.scans.readers import check_geometry_given
from monai_iscs.workflows.batch import is_done, task_of_run
from monai_iscs.workflows.calibration import find_calibration, interval_line
from monai_iscs.workflows.checkpoint import Checkpoint
from monai_iscs.workflows.comparing import compare
from monai_iscs.workflows.dicom_output import FOLDER, DicomOutput
from monai_iscs.workflows.explanation import FILLED_IN, check_explainable, write_filled_in
from monai_iscs.workflows.names import MEASURED_OVERRIDES
from monai_iscs.workflows.pipeline import Pipeline
from monai_iscs.workflows.progress import Progress
from monai_iscs.workflows.scanned import check_path, reading_notes
from monai_iscs.workflows.slabs import load_scan
from monai_iscs.workflows.spread import INTERVAL, SPREAD, write_spread


def reconstruct_input(options: Namespace, pipeline: Pipeline, *, real: bool, again: bool = True) -> list[str]:
    """Reconstruct one input into a folder.

    Args:
        options: of the command line; `input` and `output` are this input's.
        pipeline: the bundle.
        real: whether the input is projections.
        again: whether to do it even if the folder has the results already.

    Returns:
        What a user wants to know of it, as lines; on the first of several processes only.

    Raises:
        InputError: the input cannot be used, or the folder not be written.
    """
    method = options.method
    sampling = method is None or method.noise is not None
    if not real:
        check_geometry_given(options.input)
    given = {"unit": pipeline.display["unit"], "anonymous": options.anonymous}
    dicom = DicomOutput(None if real else options.input, **given) if options.dicom else None
    sampler = pipeline.sampler(method) if sampling else None
    name = sampler.recipe.label if sampling else method.label
    settings = {"input": str(options.input.resolve()), "method": name, **pipeline.settings(sampler)}
    if not real:
        settings["measurement_seed"] = pipeline.measurement_seed
    several = sampling and sampler.samples > 1
    calibration = find_calibration(pipeline, sampler) if several else None
    record = RunRecord(settings, seed=options.seed, device=pipeline.device)
    task = None if again else task_of_run(record, _files(options), sampler and pipeline.weights(sampler))
    if task and is_done(options.output, task):
        return [f"{options.output}: done already, with the same settings"] * (idist.get_rank() == 0)
    steps = sampler.calls if sampling else 1
    writing = 3 if options.explain else 1  # a few dozen iterations, as in some two steps
    stages = {"reading": 1, "scanning": 1, "reconstructing": steps, "writing": writing, "comparing": 1}
    with RunFolder(options.output, inputs=[options.input]) as folder, Progress(stages, record) as progress:
        names = ["reconstruction.nii.gz", "preview.png", "metrics.json", "seen.nii.gz", *([FOLDER] if dicom else [])]
        folder.expect(*names, *((SPREAD, INTERVAL) if several else ()), *([FILLED_IN] if options.explain else []))
        notes: list[str] = []

        def tell(found: list[str]) -> None:  # as soon as it is known: one may want to stop the run
            notes.extend(found)
            for note in found:
                progress.write(f"note: {note}")

        with progress.stage("reading"):
            scan = load_scan(pipeline, options.input, real=real)
            if real and not sampling:
                check_path(method, scan.volume)
        with progress.stage("scanning"):
            if real:
                tell(reading_notes(projections_of(scan.volume)))
            scan.measure(sampler if sampling else method, tell)
            steps = progress.lengthen("reconstructing", scan.parts)
            measured = scan.measured
            if options.explain:
                check_explainable(measured)
        # a quarter of its bytes: the compressed file is larger
        folder.expect(size=((3 if dicom else 1) + several + options.explain) * scan.voxels)
        with progress.stage("reconstructing"):
            checkpoint = None
            if sampling:
                checkpoint = Checkpoint(folder.path, pipeline.identity(record, options.input, measured, sampler))
            sampled = scan.reconstruct(progress.step, checkpoint)
        result = sampled.volume
        if idist.get_rank() > 0:
            return []  # the first process has the whole volume too, and writes
        reference = measured.reference
        known = reference is not None
        with folder.results() as stage:
            with progress.stage("writing"):
                restored = pipeline.restore(result, measured)
                write_volume(stage / "reconstruction.nii.gz", restored)
                if dicom:
                    dicom.write(restored, stage, method=name, sampler=sampler, simulated=known)
                maps, intervals = write_spread(stage, pipeline, measured, sampled, calibration) if several else ({}, {})
                if options.explain:
                    maps = {**maps, "filled in": write_filled_in(stage, pipeline, measured, result)}
                beside = scan.beside
                shown = {beside.method: beside.first, name: pipeline.shown(result, measured)}
                three_view_figure(
                    {title: pipeline.to_units(image) for title, image in shown.items()},
                    pipeline.to_units(reference) if known else None,
                    affine_to_spacing(shown[name].affine).tolist(),
                    stage / "preview.png",
                    maps=maps,
                    **pipeline.display,
                )
            with progress.stage("comparing"):
                if known:  # as in `evaluate`: the written file against the one that was read
                    summary = compare(pipeline.config, stage / "reconstruction.nii.gz", options.input).summary
                    write_json(stage / "metrics.json", {**summary, **intervals})
                if real:
                    write_volume(stage / "seen.nii.gz", beside.seen)
                noisy = real or pipeline.given("photons") or pipeline.given("noise_std")
                if fit := beside.fit:
                    tell(fit.notes(stops=sampler.recipe.consistency.stops_at_noise) if sampling and noisy else [])
            scanned = {"notes": notes, **fit.as_dict()} if fit else {}
            done = {"task": task} if task else {}
            calibrated = {"calibration": calibration.as_dict() if calibration else None} if several else {}
            resumed = {"resumed_after_step": checkpoint.restored} if sampling and checkpoint.restored else {}
            write_json(stage / "run.json", {**record.as_dict(), **done, **calibrated, **scanned, **resumed})
            written = sorted(file.name for file in stage.iterdir())
    said = []
    if sampling:
        checkpoint.remove()
        if checkpoint.restored:
            said.append(f"Went on after step {checkpoint.restored} of {steps}, which an earlier run had reached.")
    if real:
        said.append(f"Residual of the views, |A x - y| / |y|: {min(fit.residuals):.4f} to {max(fit.residuals):.4f}")
    if known:
        said.append(markdown_table([metrics_row(name, summary, seconds=record.seconds["reconstructing"])]))
    if several:
        said.append(f"reconstruction.nii.gz is the {sampler.result}, {SPREAD} their standard deviation.")
        said.append(interval_line(calibration, pipeline, vars(options), simulated=not real))
    return [*said, f"{folder.path.resolve()}: {', '.join(written)}"]


def _files(options: Namespace) -> list[Path]:
    """The input, and files that its measurement depends on: a geometry, flat and dark fields."""
    path = options.input
    beside = sorted(path.parent.glob(f"{escape(path.stem)}.*")) if path.is_file() else [path]
    values = [getattr(options, option) for option in MEASURED_OVERRIDES]
    return [*beside, *(value for value in values if isinstance(value, Path))]
