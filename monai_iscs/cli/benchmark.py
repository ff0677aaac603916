# SPDX-License-Identifier: Apache-2.0
"""``monai-iscs benchmark``: methods by volumes, one table."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from monai_iscs.cli import tables
from monai_iscs.cli.limits import check_memory
from monai_iscs.cli.lpips import choose_lpips
from monai_iscs.cli.names import OVERRIDES
from monai_iscs.cli.pipeline import Pipeline
from monai_iscs.cli.study import Study
from monai_iscs.cli.suites import SUITES, Suite, method_row
from monai_iscs.errors import InputError
from monai_iscs.reports import RunFolder, write_csv, write_json

BYTES_A_CELL = 5000  # its settings, before anything is run


def benchmark(arguments: Namespace) -> None:
    """Runs the verb.

    Raises:
        InputError: something in the arguments cannot be used. What goes wrong in one cell is told in the table.
    """
    names = _names(arguments.volumes)
    lpips, missing = choose_lpips(arguments.lpips)
    pipeline = Pipeline(
        arguments.bundle,
        device=arguments.device,
        memory=arguments.memory,
        overrides={option: getattr(arguments, option) for option in OVERRIDES},
        over=arguments.config,
    )
    suite = _suite(arguments, pipeline)
    rows = suite.rows(pipeline.baselines)
    count = (arguments.seeds or suite.seeds) * len(rows) * len(names)
    check_memory("--seeds", arguments.seeds or suite.seeds, BYTES_A_CELL * count)
    seeds = range(arguments.seed, arguments.seed + (arguments.seeds or suite.seeds))
    folder = RunFolder(arguments.output)
    volumes = dict(zip(names, arguments.volumes, strict=True))
    study = Study(pipeline, suite, rows, seeds, volumes, arguments.slices, folder.path, lpips)
    try:
        study.run()
    finally:
        title = f"{suite.title}, {pipeline.folder.name}"
        with folder.results() as stage:
            write_json(stage / "results.json", {"title": title, "cells": tables.records(study)})
            table = tables.markdown(study, title)
            (stage / "table.md").write_text(table)
            runs = tables.runs(study)
            if runs:
                write_csv(stage / "table.csv", runs)
    print(f"\n{table}")
    if missing is not None:
        print(f"LPIPS was not measured. {missing}")
    if not runs:
        raise InputError(f"{folder.path.resolve()}: nothing could be measured, see table.md there")
    print(f"{folder.path.resolve()}: table.md, table.csv, results.json; a folder with figures for each volume")


def _names(volumes: Sequence[Path]) -> list[str]:
    names = [path.resolve().name.split(".")[0] for path in volumes]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two volumes are called {name}, expected different names: their results share a folder")
    return names


def _suite(arguments: Namespace, pipeline: Pipeline) -> Suite:
    if arguments.methods is None:
        return SUITES[arguments.suite or "table1"]
    for method in arguments.methods:
        pipeline.check_method(method)
        if arguments.methods.count(method) > 1:
            raise InputError(f"--methods: found {method.label} twice, expected each method once")
    rows = [method_row(method) for method in arguments.methods]
    return Suite(title="Compared methods", rows=lambda _: rows)
