# SPDX-License-Identifier: Apache-2.0
"""``monai-iscs reconstruct``: a volume from a simulated or measured scan."""

from __future__ import annotations

from argparse import Namespace

import ignite.distributed as idist
from monai.data.utils import affine_to_spacing

from monai_iscs.errors import InputError
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
from monai_iscs.scans.readers import check_geometry_given, holds_projections
from monai_iscs.workflows.calibration import find_calibration, interval_line
from monai_iscs.workflows.checkpoint import Checkpoint
from monai_iscs.workflows.comparing import compare
from monai_iscs.workflows.dicom_output import FOLDER, DicomOutput
from monai_iscs.workflows.explanation import FILLED_IN, check_explainable, write_filled_in
from monai_iscs.workflows.names import MEASURED, MEASURED_OVERRIDES, OVERRIDES, SIMULATED_ONLY, SPEED
from monai_iscs.workflows.pipeline import Pipeline
from monai_iscs.workflows.progress import Progress
from monai_iscs.workflows.scanned import check_path, reading_notes
from monai_iscs.workflows.slabs import load_scan
from monai_iscs.workflows.spread import INTERVAL, SPREAD, write_spread

SAMPLER_OPTIONS = (
    *("recipe", "steps", "eta", "smoothing", "noise_level", "samples"),
    *SPEED,
)


def reconstruct(arguments: Namespace) -> None:
    """Runs the verb.

    Raises:
        InputError: an argument cannot be used.
    """
    method = arguments.method
    sampling = method is None or method.noise is not None
    _refuse_idle_options(arguments, sampling=sampling)
    real = arguments.geometry is not None or MEASURED in arguments.config or holds_projections(arguments.input)
    _refuse_other_scans(arguments, real=real)
    if not real:
        check_geometry_given(arguments.input)
    pipeline = Pipeline(
        arguments.bundle,
        device=arguments.device,
        memory=arguments.memory,
        network=sampling,
        overrides={option: getattr(arguments, option) for option in OVERRIDES + MEASURED_OVERRIDES * real},
        over=[MEASURED, *(name for name in arguments.config if name != MEASURED)] if real else arguments.config,
    )
    if method is not None:
        pipeline.check_method(method)
    if pipeline.given("noise_std") is True and pipeline.given("factor") is False:
        raise InputError("--noise-std: found without --factor, expected both: measured slices have noise already")
    given = {"unit": pipeline.display["unit"], "anonymous": arguments.anonymous}
    dicom = DicomOutput(None if real else arguments.input, **given) if arguments.dicom else None
    sampler = pipeline.sampler(method) if sampling else None
    name = sampler.recipe.label if sampling else method.label
    settings = {"input": str(arguments.input.resolve()), "method": name, **pipeline.settings(sampler)}
    if not real:
        settings["measurement_seed"] = pipeline.measurement_seed
    several = sampling and sampler.samples > 1
    calibration = find_calibration(pipeline, sampler) if several else None
    record = RunRecord(settings, seed=arguments.seed, device=pipeline.device)
    steps = sampler.calls if sampling else 1
    writing = 3 if arguments.explain else 1  # a few dozen iterations, as in some two steps
    stages = {"reading": 1, "scanning": 1, "reconstructing": steps, "writing": writing, "comparing": 1}
    with RunFolder(arguments.output, inputs=[arguments.input]) as folder, Progress(stages, record) as progress:
        names = ["reconstruction.nii.gz", "preview.png", "metrics.json", "seen.nii.gz", *([FOLDER] if dicom else [])]
        folder.expect(*names, *((SPREAD, INTERVAL) if several else ()), *([FILLED_IN] if arguments.explain else []))
        notes: list[str] = []

        def tell(found: list[str]) -> None:  # as soon as it is known: one may want to stop the run
            notes.extend(found)
            for note in found:
                progress.write(f"note: {note}")

        with progress.stage("reading"):
            scan = load_scan(pipeline, arguments.input, real=real)
            if real and not sampling:
                check_path(method, scan.volume)
        with progress.stage("scanning"):
            if real:
                tell(reading_notes(projections_of(scan.volume)))
            scan.measure(sampler if sampling else method, tell)
            steps = progress.lengthen("reconstructing", scan.parts)
            measured = scan.measured
            if arguments.explain:
                check_explainable(measured)
        # a quarter of its bytes: the compressed file is larger
        folder.expect(size=((3 if dicom else 1) + several + arguments.explain) * scan.voxels)
        with progress.stage("reconstructing"):
            checkpoint = None
            if sampling:
                checkpoint = Checkpoint(folder.path, pipeline.identity(record, arguments.input, measured, sampler))
            sampled = scan.reconstruct(progress.step, checkpoint)
        result = sampled.volume
        if idist.get_rank() > 0:
            return  # the first process has the whole volume too, and writes
        reference = measured.reference
        known = reference is not None
        with folder.results() as stage:
            with progress.stage("writing"):
                restored = pipeline.restore(result, measured)
                write_volume(stage / "reconstruction.nii.gz", restored)
                if dicom:
                    dicom.write(restored, stage, method=name, sampler=sampler, simulated=known)
                maps, intervals = write_spread(stage, pipeline, measured, sampled, calibration) if several else ({}, {})
                if arguments.explain:
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
                    summary = compare(pipeline.config, stage / "reconstruction.nii.gz", arguments.input).summary
                    write_json(stage / "metrics.json", {**summary, **intervals})
                if real:
                    write_volume(stage / "seen.nii.gz", beside.seen)
                noisy = real or pipeline.given("photons") or pipeline.given("noise_std")
                if fit := beside.fit:
                    tell(fit.notes(stops=sampler.recipe.consistency.stops_at_noise) if sampling and noisy else [])
            scanned = {"notes": notes, **fit.as_dict()} if fit else {}
            calibrated = {"calibration": calibration.as_dict() if calibration else None} if several else {}
            resumed = {"resumed_after_step": checkpoint.restored} if sampling and checkpoint.restored else {}
            write_json(stage / "run.json", {**record.as_dict(), **calibrated, **scanned, **resumed})
            written = sorted(file.name for file in stage.iterdir())
    if sampling:
        checkpoint.remove()
        if checkpoint.restored:
            print(f"Went on after step {checkpoint.restored} of {steps}, which an earlier run had reached.")
    if real:
        print(f"Residual of the views, |A x - y| / |y|: {min(fit.residuals):.4f} to {max(fit.residuals):.4f}")
    if known:
        print(markdown_table([metrics_row(name, summary, seconds=record.seconds["reconstructing"])]))
    if several:
        print(f"reconstruction.nii.gz is the {sampler.result}, {SPREAD} their standard deviation.")
        print(interval_line(calibration, pipeline, vars(arguments), simulated=not real))
    print(f"{folder.path.resolve()}: {', '.join(written)}")


def _refuse_other_scans(arguments: Namespace, *, real: bool) -> None:
    """Options of simulated scans with real projections, or the other way round, would be ignored silently."""
    options = SIMULATED_ONLY if real else MEASURED_OVERRIDES
    given = [f"--{option.replace('_', '-')}" for option in options if getattr(arguments, option) is not None]
    if given:
        found, expected = ("projections", "a volume to simulate a scan of") if real else ("a volume", "projections")
        raise InputError(f"{', '.join(given)}: found with {found}, {arguments.input}, expected with {expected}")


def _refuse_idle_options(arguments: Namespace, *, sampling: bool) -> None:
    """Refuse options that the method would ignore."""
    if arguments.anonymous and not arguments.dicom:
        raise InputError("--anonymous: found without --dicom, expected both: it is of the DICOM series")
    given = [f"--{option.replace('_', '-')}" for option in SAMPLER_OPTIONS if getattr(arguments, option) is not None]
    if given and not sampling:
        name = arguments.method.name
        raise InputError(f"{', '.join(given)}: found with --method {name}, expected with a sampler, dds or ddnm")
