# SPDX-License-Identifier: Apache-2.0
"""``monai-iscs reconstruct``: a volume from a scan that is simulated, or was measured."""

from __future__ import annotations

from argparse import Namespace

import ignite.distributed as idist
from monai.data.utils import affine_to_spacing

from monai_iscs.errors import InputError
from monai_iscs.methods import Method
from monai_iscs.reports import (
    RunFolder,
    RunRecord,
    markdown_table,
    metrics_row,
    three_view_figure,
    write_json,
    write_volume,
)
from monai_iscs.workflows.checkpoint import Checkpoint
from monai_iscs.workflows.comparing import compare
from monai_iscs.workflows.dicom_output import FOLDER, DicomOutput
from monai_iscs.workflows.names import OVERRIDES
from monai_iscs.workflows.pipeline import Pipeline
from monai_iscs.workflows.progress import Progress

SAMPLER_OPTIONS = (
    *("recipe", "steps", "eta", "smoothing", "noise_level"),
    *("slice_batch", "precision", "compiled"),
)


def reconstruct(arguments: Namespace) -> None:
    """Runs the verb.

    Raises:
        InputError: something in the arguments cannot be used.
    """
    method = arguments.method
    sampling = method is None or method.noise is not None
    _refuse_idle_options(arguments, sampling=sampling)
    pipeline = Pipeline(
        arguments.bundle,
        device=arguments.device,
        memory=arguments.memory,
        network=sampling,
        overrides={option: getattr(arguments, option) for option in OVERRIDES},
        over=arguments.config,
    )
    if method is not None:
        pipeline.check_method(method)
    if pipeline.given("noise_std") is True and pipeline.given("factor") is False:
        raise InputError("--noise-std: found without --factor, expected both: measured slices have noise already")
    given = {"unit": pipeline.display["unit"], "anonymous": arguments.anonymous}
    dicom = DicomOutput(arguments.input, **given) if arguments.dicom else None
    sampler = pipeline.sampler(method) if sampling else None
    name = sampler.recipe.label if sampling else method.label
    settings = {"input": str(arguments.input.resolve()), "method": name, **pipeline.settings(sampler)}
    settings["measurement_seed"] = pipeline.measurement_seed
    record = RunRecord(settings, seed=arguments.seed, device=pipeline.device)
    steps = sampler.steps if sampling else 1
    stages = {"reading": 1, "scanning": 1, "reconstructing": steps, "writing": 1, "comparing": 1}
    with RunFolder(arguments.output, inputs=[arguments.input]) as folder, Progress(stages, record) as progress:
        folder.expect("reconstruction.nii.gz", "preview.png", "metrics.json", *([FOLDER] if dicom else []))
        with progress.stage("reading"):
            volume = pipeline.load(arguments.input)
        with progress.stage("scanning"):
            measured = pipeline.measure(volume)
        folder.expect(size=(3 if dicom else 1) * volume.numel())  # a quarter of its bytes: compressed, it takes more
        with progress.stage("reconstructing"):
            if sampling:
                checkpoint = Checkpoint(folder.path, pipeline.identity(record, arguments.input))
                result = pipeline.sample(sampler, measured, progress.step, checkpoint)
            else:
                result = pipeline.baseline(method.name, measured)
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
                start = pipeline.baselines[0]
                shown = {Method(start).label: pipeline.baseline(start, measured), name: result}
                three_view_figure(
                    {title: pipeline.to_units(image) for title, image in shown.items()},
                    pipeline.to_units(reference) if known else None,
                    affine_to_spacing(result.affine).tolist(),
                    stage / "preview.png",
                    **pipeline.display,
                )
            with progress.stage("comparing"):
                if known:  # as `evaluate` would: the file that was written against the one that was read
                    summary = compare(pipeline.config, stage / "reconstruction.nii.gz", arguments.input).summary
                    write_json(stage / "metrics.json", summary)
            resumed = {"resumed_after_step": checkpoint.restored} if sampling and checkpoint.restored else {}
            write_json(stage / "run.json", {**record.as_dict(), **resumed})
            written = sorted(file.name for file in stage.iterdir())
    if sampling:
        checkpoint.remove()
        if checkpoint.restored:
            print(f"Went on after step {checkpoint.restored} of {steps}, which an earlier run had reached.")
    if known:
        print(markdown_table([metrics_row(name, summary, seconds=record.seconds["reconstructing"])]))
    print(f"{folder.path.resolve()}: {', '.join(written)}")


def _refuse_idle_options(arguments: Namespace, *, sampling: bool) -> None:
    """An option that the method does not know would be passed over in silence."""
    if arguments.anonymous and not arguments.dicom:
        raise InputError("--anonymous: found without --dicom, expected both: it is of the DICOM series")
    given = [f"--{option.replace('_', '-')}" for option in SAMPLER_OPTIONS if getattr(arguments, option) is not None]
    if given and not sampling:
        name = arguments.method.name
        raise InputError(f"{', '.join(given)}: found with --method {name}, expected with a sampler, dds or ddnm")
    if arguments.smoothing is not None and arguments.method is not None and arguments.method.name == "dds+tv":
        raise InputError(
            "--smoothing: found with --method dds+tv, expected with dds or ddnm: there the slices' TV smooths"
        )
