# SPDX-License-Identifier: Apache-2.0
"""``monai-iscs reconstruct``: a volume from a simulated scan with few views."""

from __future__ import annotations

from argparse import Namespace

from monai.data.utils import affine_to_spacing

from monai_iscs.cli.names import CHOICES
from monai_iscs.cli.pipeline import Pipeline
from monai_iscs.cli.progress import Progress
from monai_iscs.errors import InputError
from monai_iscs.metrics import summarise
from monai_iscs.reports import (
    RunFolder,
    RunRecord,
    markdown_table,
    metrics_row,
    three_view_figure,
    write_json,
    write_volume,
)


def reconstruct(arguments: Namespace) -> None:
    """Runs the verb.

    Raises:
        InputError: something in the arguments cannot be used.
    """
    name = arguments.method if arguments.noise is None else f"{arguments.method}+{arguments.noise}"
    sampling = arguments.method in CHOICES["sampler"]
    _refuse_idle_options(arguments, sampling=sampling)
    options = ("views", "arc", "photons", "preset", "steps", "eta", "seed")
    pipeline = Pipeline(
        arguments.bundle,
        device=arguments.device,
        network=sampling,
        overrides={option: getattr(arguments, option) for option in options},
    )
    inferer = pipeline.sampler(arguments.method, arguments.noise) if sampling else None
    settings = {"input": str(arguments.input.resolve()), "method": name, **pipeline.settings(inferer)}
    record = RunRecord(settings, seed=arguments.seed, device=pipeline.device)
    steps = len(inferer.sigmas) if sampling else 1
    stages = {"reading": 1, "scanning": 1, "reconstructing": steps, "comparing": 1, "writing": 1}
    with Progress(stages, record) as progress:
        with progress.stage("reading"):
            volume = pipeline.load(arguments.input)
        with progress.stage("scanning"):
            measurement = pipeline.measure(volume)
        folder = RunFolder(arguments.output)
        with progress.stage("reconstructing"):
            if sampling:
                result = pipeline.sample(inferer, measurement, progress.step)
            else:
                result = pipeline.baseline(arguments.method, measurement)
        with progress.stage("comparing"):
            summary = summarise(result, volume)
        with folder.results() as stage:
            with progress.stage("writing"):
                write_volume(stage / "reconstruction.nii.gz", pipeline.restore(result, volume))
                shown = {"FDK": pipeline.baseline("fdk", measurement)} if arguments.method != "fdk" else {}
                shown[name] = result
                three_view_figure(
                    {title: pipeline.to_hu(image) for title, image in shown.items()},
                    pipeline.to_hu(volume),
                    affine_to_spacing(volume.affine).tolist(),
                    stage / "preview.png",
                )
                write_json(stage / "metrics.json", summary)
            write_json(stage / "run.json", record.as_dict())
    print(markdown_table([metrics_row(name, summary, seconds=record.seconds["reconstructing"])]))
    print(f"{folder.path.resolve()}: reconstruction.nii.gz, preview.png, metrics.json, run.json")


def _refuse_idle_options(arguments: Namespace, *, sampling: bool) -> None:
    """An option that the method does not know would be passed over in silence."""
    given = [f"--{option}" for option in ("noise", "preset", "steps", "eta") if getattr(arguments, option) is not None]
    if given and not sampling:
        samplers = " and ".join(CHOICES["sampler"])
        raise InputError(f"{', '.join(given)}: found with --method {arguments.method}, expected with {samplers} only")
