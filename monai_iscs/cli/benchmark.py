# SPDX-License-Identifier: Apache-2.0
"""``monai-iscs benchmark``: methods by volumes, one table."""

from __future__ import annotations

import os
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from monai_iscs.cli.lpips import choose_lpips
from monai_iscs.engines import volume_stem
from monai_iscs.errors import InputError
from monai_iscs.reports import RunFolder, write_csv, write_json
from monai_iscs.studies import tables
from monai_iscs.studies.cells import fingerprint
from monai_iscs.studies.study import Study
from monai_iscs.studies.suites import SUITES, Suite, method_row
from monai_iscs.workflows.limits import check_memory
from monai_iscs.workflows.names import OVERRIDES
from monai_iscs.workflows.pipeline import Pipeline

RECORD, TABLES = "results.json", ("table.md", "table.csv")
BYTES_A_CELL = 5000  # its settings, before anything is run


def benchmark(arguments: Namespace) -> None:
    """Runs the verb.

    Raises:
        InputError: something in the arguments cannot be used. What goes wrong in one cell is told in the table.
    """
    names = _names(arguments.volumes)
    lpips, missing = choose_lpips(arguments.lpips)
    models = arguments.bundle / "models"
    weights = fingerprint(models) if models.is_dir() else None
    pipeline = Pipeline(
        arguments.bundle,
        device=arguments.device,
        memory=arguments.memory,
        overrides={option: getattr(arguments, option) for option in OVERRIDES},
        over=arguments.config,
    )
    if weights is not None and fingerprint(models) != weights:
        raise InputError(f"{models}: changed while it was read, expected the model to stay as it is during a benchmark")
    suite = _suite(arguments, pipeline)
    rows = suite.rows(pipeline.baselines)
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
        raise InputError(f"{folder.path.resolve()}: nothing could be measured, see table.md there")
    print(f"{folder.path.resolve()}: table.md, table.csv, results.json; a folder with figures for each volume")


def _names(volumes: Sequence[Path]) -> list[str]:
    """What the volumes and their folders are called: as their files are, without what tells the format.

    Volumes of one name are told apart by the rest of their file names or else by the folders that they are in, so that
    a volume's name, under which its results are found again, seldom hangs on the others.
    """
    paths = [Path(os.path.abspath(path)) for path in volumes]  # links keep their names
    stems = [(path.parent, _stem(path)) for path in paths]
    alike = Counter((folder, stem.casefold()) for folder, stem in stems)
    names = [
        path.name if alike[folder, stem.casefold()] > 1 else stem
        for path, (folder, stem) in zip(paths, stems, strict=True)
    ]
    for depth in range(2, max(len(path.parts) for path in paths)):
        alike = [name for name in names if names.count(name) > 1]
        names = [
            f"{path.parts[-depth]}_{name}" if name in alike and depth < len(path.parts) else name
            for path, name in zip(paths, names, strict=True)
        ]
    for path, name in zip(paths, names, strict=True):
        if names.count(name) > 1:
            raise InputError(f"{path}: found twice, expected each volume once")
    return names


def _stem(path: Path) -> str:
    """A file's name without the end that tells its format, a folder's whole name."""
    stem = volume_stem(path)
    return stem if stem.strip(".") and stem not in (RECORD, *TABLES) else path.name


def _suite(arguments: Namespace, pipeline: Pipeline) -> Suite:
    if arguments.methods is None:
        return SUITES[arguments.suite or "table1"]
    for method in arguments.methods:
        pipeline.check_method(method)
        if arguments.methods.count(method) > 1:
            raise InputError(f"--methods: found {method.label} twice, expected each method once")
    rows = [method_row(method) for method in arguments.methods]
    return Suite(title="Compared methods", rows=lambda _: rows)
