# SPDX-License-Identifier: Apache-2.0
"""Several inputs of one command: each has a folder for its results, and what failed is named at the end."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from monai_iscs.dicom import is_dicom
from monai_iscs.engines import list_volumes
from monai_iscs.errors import InputError, InputWarning
from monai_iscs.reports import RunRecord
from monai_iscs.reports.run_folder import read_results
from monai_iscs.scans.readers import holds_projections
from monai_iscs.workflows.fingerprint import fingerprint
from monai_iscs.workflows.groups import Alone, Groups

DESCRIBING = (".xml", ".json")  # of files that describe others in their folder: RTK's geometries, BIDS's sidecars
MOST_NAMED = 5  # failed inputs in the last line


def inputs_in(path: Path) -> list[Path]:
    """All inputs that are meant by a file, a pattern or a folder.

    A folder is one input if it has DICOM files in it, or nothing that could be an input: its reader says what is wrong
    with it. Otherwise each volume and each scan in it is one; CTSimU's metadata (.json) have to be named themselves.
    """
    if not path.is_dir():
        return [path]
    inside = sorted(item for item in path.iterdir() if not item.name.startswith("."))
    if holds_projections(path) or any(item.is_file() and is_dicom(item) for item in inside):
        return [path]
    scans = [item for item in inside if holds_projections(item) and item.suffix.lower() not in DESCRIBING]
    try:
        with warnings.catch_warnings():
            if scans:  # they are no volumes, but not left out
                warnings.simplefilter("ignore", InputWarning)
            volumes = [Path(item) for item in list_volumes(path)]
    except InputError:
        volumes = []
    return sorted({*scans, *volumes}) or [path]


def task_of_run(record: RunRecord, files: Sequence[Path], weights: str | Mapping[str, str] | None) -> str:
    """A number for all that a result depends on, which its ``run.json`` keeps.

    Args:
        record: of the run: its settings, seed and versions.
        files: that it reads.
        weights: SHA-256 of the networks' weights.
    """
    known = record.as_dict()
    same = {name: known[name] for name in ("settings", "seed", "versions", "device")}
    same |= {"files": [fingerprint(path) for path in files], "weights": weights}
    return hashlib.sha256(json.dumps(same, sort_keys=True, default=str).encode()).hexdigest()


def is_done(folder: Path, task: str) -> bool:
    """Whether a folder has the results of a task, complete and unchanged."""
    results = read_results(folder)
    return results is not None and results.get("task") == task


def run_each(
    inputs: Mapping[str, Path],
    output: Path,
    work: Callable[[Path, Path], Any],
    turns: Alone | Groups,
    tell: Callable[[str], Any],
    *,
    what: str,
) -> None:
    """Do the work of each input, in turn or by the groups of several processes.

    Args:
        inputs: files and folders by their names.
        output: folder of the inputs' folders.
        work: does the work of an input and writes into a folder of the input's name.
        turns: which inputs this process takes, and with which others.
        tell: gets lines for the user.
        what: is done to an input, such as "reconstructed".

    Raises:
        InputError: some inputs failed, once all others are done.
    """
    failures: dict[int, str] = {}
    given = list(inputs.items())
    for index in turns.indices(len(given)):
        name, path = given[index]
        if turns.leads:
            tell(f"[{index + 1}/{len(given)}] {path}")
        line = turns.run(index, partial(work, path, output / name))
        if line is not None:
            failures[index] = line
            if turns.leads:
                tell(f"{name}: failed: {line}")
    failures = turns.all_failures(failures)
    done = len(inputs) - len(failures)
    if turns.prints:
        tell(f"{done} of {len(inputs)} {what}: {output.resolve()}")
    if failures:
        lines = [f"{given[index][0]} ({line})" for index, line in sorted(failures.items())]
        more = f" and {len(lines) - MOST_NAMED} more" if len(lines) > MOST_NAMED else ""
        raise InputError(
            f"{output}: found {len(failures)} of {len(inputs)} inputs that failed, expected none: "
            f"{'; '.join(lines[:MOST_NAMED])}{more}. The others are done; the same command tries only these again"
        )
