# SPDX-License-Identifier: Apache-2.0
"""``monai-iscs benchmark``: methods by volumes, one table."""

from __future__ import annotations

from argparse import Namespace

from monai_iscs.errors import InputError
from monai_iscs.reports import RunFolder, write_csv, write_json
from monai_iscs.studies import tables
from monai_iscs.studies.study import Study
from monai_iscs.studies.suites import SUITES, Suite, compared
from monai_iscs.studies.volumes import RECORD, TABLES, distinct_names
from monai_iscs.workflows.fingerprint import fingerprint
from monai_iscs.workflows.limits import check_memory
from monai_iscs.workflows.lpips import choose_lpips
from monai_iscs.workflows.names import OVERRIDES
from monai_iscs.workflows.pipeline import Pipeline

BYTES_A_CELL = 5000  # its settings, before any run


def benchmark(arguments: Namespace) -> None:
    """Runs the verb.

    Raises:
        InputError: an argument cannot be used. An error in one cell is shown in the table.
    """
    names = distinct_names(arguments.volumes)
    lpips, missing = choose_lpips(arguments.lpips)
    models = arguments.bundle / "models"
    weights = fingerprint(models) if models.is_dir() else None
    pipeline = Pipeline(
        arguments.bundle,
        device=arguments.device,
        memory=arguments.memory,
        overrides={option: getattr(arguments, option) for option in OVERRIDES},
        over=[*SUITES[arguments.suite or "table1"].over, *arguments.config],
    )
    if weights is not None and fingerprint(models) != weights:
        raise InputError(f"{models}: found a model that changed while it was read, expected it to stay the same")
    suite = _suite(arguments, pipeline)
    rows = suite.rows_for(pipeline)
    count = (arguments.seeds or suite.seeds) * len(rows) * len(names)
    check_memory("--seeds", arguments.seeds or suite.seeds, BYTES_A_CELL * count)
    seeds = range(arguments.seed, arguments.seed + (arguments.seeds or suite.seeds))
    volumes = dict(zip(names, arguments.volumes, strict=True))
    title = f"{suite.title}, {pipeline.folder.name}"
    with RunFolder(arguments.output, record=RECORD, inputs=arguments.volumes) as folder:
        folder.expect(*TABLES)
        study = Study(pipeline, suite, rows, seeds, volumes, arguments.slices, folder.path, lpips, weights)
        try:
            study.run()
        finally:
            with folder.results() as stage:
                write_json(stage / RECORD, {"title": title, "cells": tables.records(study)})
                table = tables.markdown(study, title)
                (stage / "table.md").write_text(table)
                runs = tables.runs(study)
                if runs:
                    write_csv(stage / "table.csv", runs)
    print(f"\n{table}")
    if missing is not None:
        print(f"LPIPS was not measured. {missing}")
    if not runs:
        raise InputError(f"{folder.path.resolve()}: found no result, expected at least one: see table.md there")
    print(f"{folder.path.resolve()}: table.md, table.csv, results.json; a folder with figures for each volume")


def _suite(arguments: Namespace, pipeline: Pipeline) -> Suite:
    if arguments.methods is None:
        return SUITES[arguments.suite or "table1"]
    for method in arguments.methods:
        pipeline.check_method(method)
    return compared(arguments.methods)
