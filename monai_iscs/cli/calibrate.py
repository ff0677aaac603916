# SPDX-License-Identifier: Apache-2.0
"""``monai-iscs calibrate``: intervals for the ensembles of a bundle."""

from __future__ import annotations

from argparse import Namespace

from monai_iscs.errors import InputError
from monai_iscs.reports import RunFolder, RunRecord, markdown_table, write_json
from monai_iscs.studies.calibrating import FITTING, calibrate_volumes
from monai_iscs.studies.volumes import distinct_names
from monai_iscs.workflows.calibration import FILE, read_calibrations, with_calibration
from monai_iscs.workflows.names import OVERRIDES
from monai_iscs.workflows.pipeline import Pipeline
from monai_iscs.workflows.progress import Progress


def calibrate(arguments: Namespace) -> None:
    """Runs the verb.

    Raises:
        InputError: an argument cannot be used.
    """
    method = arguments.method
    if method is not None and method.noise is None:
        raise InputError(f"--method: found {method.name}, expected a sampler, dds or ddnm: it has samples")
    if arguments.samples == 1:
        raise InputError("--samples: found 1, expected an even number: one sample has no spread")
    volumes = dict(zip(distinct_names(arguments.volumes), arguments.volumes, strict=True))
    read_calibrations(arguments.bundle)  # a damaged file is refused before the work
    pipeline = Pipeline(
        arguments.bundle,
        device=arguments.device,
        memory=arguments.memory,
        overrides={option: getattr(arguments, option) for option in OVERRIDES},
        over=arguments.config,
    )
    sampler = pipeline.sampler(method)
    settings = {**pipeline.settings(sampler), "measurement_seed": pipeline.measurement_seed, "slices": arguments.slices}
    record = RunRecord(settings, seed=arguments.seed, device=pipeline.device)
    stages = {**dict.fromkeys(volumes, sampler.calls), FITTING: 1}
    with RunFolder(arguments.output, inputs=arguments.volumes) as folder, Progress(stages, record) as progress:
        folder.expect(FILE)
        found, unfinished = calibrate_volumes(
            pipeline, sampler, volumes, arguments.slices, folder=folder.path, record=record, progress=progress
        )
        with folder.results() as stage:
            write_json(stage / FILE, with_calibration(arguments.bundle, found))
            write_json(stage / "run.json", {**record.as_dict(), "calibration": found.as_dict()})
        for checkpoint in unfinished:
            checkpoint.remove()
    print(f"\n{markdown_table(found.rows())}\n{found.summary(pipeline)}")
    print(f"{folder.path.resolve()}: {FILE}, run.json. Put {FILE} into {arguments.bundle / 'configs'} to use it.")
