# SPDX-License-Identifier: Apache-2.0
"""The contract of a bundle's configs: every entry that this package reads, its valid values, and who reads it.

``docs/bundle_contract.md`` shows it as tables. Bundles may have any other entries; only their own configs read those.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ignite.engine import Engine
from torch import nn

from monai_iscs.errors import InputError
from monai_iscs.inferers import SliceDiffusionInferer
from monai_iscs.methods import BASELINES, parse_sampler
from monai_iscs.precision import PRECISIONS
from monai_iscs.sampling import Recipe
from monai_iscs.scans import MeasuredScan, Scan
from monai_iscs.workflows.checks import (
    DISPLAY,
    FLAG,
    FUNCTION,
    NAMES,
    RANGE,
    SIGMAS,
    SIZE,
    SPACING,
    Check,
    above,
    at_least,
    instance,
    is_whole,
    one_of,
    or_null,
    some_of,
    whole,
)
from monai_iscs.workflows.names import MOST, MOST_SMOOTHING

VERSION = 2  # of `INFERENCE`; 1 had presets of the package instead of recipes of the bundle
PAGE = "docs/bundle_contract.md"
RUNS = "reconstruct, benchmark, calibrate, demo"  # the verbs that sample, by `Pipeline`


class Entry(NamedTuple):
    """One entry of a config.

    Attributes:
        check: of its value.
        meaning: for the docs.
        readers: the verbs that read it.
        required: whether every bundle has it.
        made: whether it is made of other entries: it is checked when it is read, not when the config is read.
    """

    check: Check
    meaning: str
    readers: str = RUNS
    required: bool = False
    made: bool = False


def _is_sampler(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(parse_sampler(value))
    except InputError:
        return False


def _is_sampling(value: Any) -> bool:
    return isinstance(value, SliceDiffusionInferer) and isinstance(value.recipe, Recipe)


def _are_recipes(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(recipe, Recipe) for recipe in value.values())


INFERENCE: dict[str, Entry] = {
    "contract": Entry(
        Check(lambda value: value == VERSION and not isinstance(value, bool), str(VERSION)),
        "version of this contract",
        "all verbs",
        required=True,
    ),
    "ckpt_path": Entry(
        instance((str, Path), "the path of a file"), "the network's weights", f"{RUNS}, convert", True, made=True
    ),
    "network_def": Entry(
        instance(nn.Module, "a network"), "the prior's network, on the CPU", f"{RUNS}, convert", True, made=True
    ),
    "networks": Entry(
        instance(Mapping, "networks by name"),
        "further networks of priors, by name, each with entries `network_def` and `ckpt_path`; read when needed",
        made=True,
    ),
    "preprocessing": Entry(
        FUNCTION, "transform from a file, key `label`, to the volume that is, or was, scanned", RUNS, True, made=True
    ),
    "scan": Entry(
        instance((Scan, MeasuredScan), "a scan, such as ConeBeamScan"),
        "the scanner that is simulated, or was used",
        RUNS,
        True,
        made=True,
    ),
    "measurement": Entry(
        FUNCTION,
        "transform from the volume, key `label`, to its measurement, key `image`, with the scan in its meta data; "
        "it removes `label` if the volume itself was measured",
        RUNS,
        True,
        made=True,
    ),
    "restoration": Entry(
        FUNCTION, "transform from the result, key `pred`, to the file's units and grid", RUNS, True, made=True
    ),
    "comparison": Entry(
        FUNCTION,
        "transform from two files, keys `pred` and `label`, to volumes to compare on their own grid",
        "reconstruct, evaluate",
        True,
        made=True,
    ),
    "display": Entry(DISPLAY, "how figures show a volume", f"{RUNS}, evaluate", True, made=True),
    "inferer": Entry(
        Check(_is_sampling, "a SliceDiffusionInferer with a recipe"),
        "the sampler, made of the entries below",
        f"{RUNS}, evaluate",
        True,
        made=True,
    ),
    "recipes": Entry(
        Check(_are_recipes, "recipes by name"),
        "the recipes tuned for this prior, and those of the library (`released`, `paper`)",
        f"{RUNS}, convert",
        True,
    ),
    "recipe": Entry(instance(str, "the name of a recipe"), "the one to use, `--recipe`", f"{RUNS}, convert", True),
    "method": Entry(
        or_null(Check(_is_sampler, "a sampler, such as dds+iscs")),
        "replaces the recipe's consistency step and noise, `--method`",
        RUNS,
        True,
    ),
    "steps": Entry(or_null(whole(1)), "replaces the recipe's number of steps", RUNS, True),
    "eta": Entry(or_null(at_least(0, 1)), "replaces the recipe's share of fresh noise", RUNS, True),
    "smoothing": Entry(
        or_null(at_least(0, MOST_SMOOTHING)), "replaces the width across slices of corrections, in samples", RUNS, True
    ),
    "noise_level": Entry(
        or_null(at_least(0)),
        "root mean square of the measurement's noise, by which it is weighed, or no closer than which it is fitted; "
        "null: as the recipe says",
        RUNS,
        True,
    ),
    "plugs": Entry(
        instance(Mapping, "parts of a recipe by name"),
        "replace whole parts of the recipe, such as `noise`, after the method",
        RUNS,
        True,
    ),
    "seed": Entry(whole(0, MOST), "of the sampler's random numbers", RUNS, True),
    "samples": Entry(
        Check(lambda value: value == 1 or (is_whole(value, 2) and value % 2 == 0), "1, or an even number"),
        "in pairs of opposite noise; of several, the mean is the result, `--samples`",
    ),
    "measurement_seed": Entry(whole(0, MOST), "of a simulated measurement's noise", RUNS, True),
    "slice_batch": Entry(or_null(whole(1)), "most slices for the network at a time; null: what fits", RUNS, True),
    "precision": Entry(
        or_null(one_of(PRECISIONS)), "of the products inside the network; null: what suits the device", RUNS, True
    ),
    "compiled": Entry(FLAG, "whether the network is compiled first", RUNS, True),
    "distributed": Entry(FLAG, "whether the processes of `torchrun` share each volume", RUNS, True),
    "baselines": Entry(some_of(BASELINES), "classical methods that suit its measurements", RUNS, True),
    "settings": Entry(NAMES, "entries that `run.json` and the tables show", RUNS, True),
    "hu_range": Entry(RANGE, "CT: the Hounsfield units that the prior knows"),
    "size": Entry(SIZE, "pixels of a slice to which files are fitted", f"{RUNS}, convert"),
    "spacing": Entry(or_null(SPACING), "voxel size to which files are resampled"),
    "pixel_size": Entry(
        instance(Mapping, "least, usual and most, in mm"),
        "of the slices that the prior was trained on; others are warned of",
        "reconstruct",
        made=True,
    ),
    "views": Entry(whole(1), "CT: number of views; of a helix, in each turn"),
    "arc": Entry(above(0, 360), "CT: degrees over which they are spread"),
    "table_feed": Entry(or_null(above(0)), "CT: mm that the table moves in a turn of a helix; null: a circle"),
    "row_spacing": Entry(or_null(above(0)), "CT: mm from row to row of the detector, at the isocentre"),
    "same_grid": Entry(FLAG, "CT: whether the simulated scan has the reconstruction's own grid, one ray a pixel"),
    "photons": Entry(or_null(above(0)), "CT: photons for each detector pixel and view"),
    "noise_std": Entry(or_null(at_least(0)), "standard deviation of simulated Gaussian noise"),
    "factor": Entry(or_null(above(1)), "MRI: thickness of the simulated slices in thin ones; null: they were measured"),
}
TRAINING: dict[str, Entry] = {
    "initialize": Entry(instance(list, "a list of expressions"), "run first, in turn", "train", True, made=True),
    "train::trainer": Entry(
        instance(Engine, "an Ignite engine, such as SupervisedTrainer"), "the training", "train", True, made=True
    ),
    "validate::evaluator": Entry(
        instance(Engine, "an Ignite engine, such as SupervisedEvaluator"), "the validation", "train", True, made=True
    ),
    "hu_range": INFERENCE["hu_range"]._replace(readers="train"),
    "size": INFERENCE["size"]._replace(readers="train"),
    "spacing": INFERENCE["spacing"]._replace(readers="train"),
    "crop": Entry(SIZE, "pixels of a training image", "train"),
    "every": Entry(whole(1), "distance of the slices that are trained on", "train"),
    "epochs": Entry(whole(1), "passes over the data", "train"),
    "batch_size": Entry(whole(1), "images of one step", "train"),
    "learning_rate": Entry(above(0), "of the optimiser, at its highest", "train"),
    "warmup_steps": Entry(whole(1), "steps until the learning rate is at its highest", "train"),
    "val_interval": Entry(whole(1), "epochs between two validations", "train"),
    "validate_every": Entry(whole(1), "distance of the slices of the validation", "train"),
    "validation_sigmas": Entry(SIGMAS, "sigmas of the validation", "train"),
    "amp": Entry(FLAG, "whether the network computes in half precision", "train"),
    "num_workers": Entry(whole(0), "processes that load data", "train"),
}
CONTRACTS = {"inference": INFERENCE, "train": TRAINING}


def check_version(entries: Mapping[str, Any], file: Path) -> None:
    """Raise an `InputError`, which says how to convert it, for a bundle of the first contract."""
    inferer = entries.get("inferer")
    target = str(inferer.get("_target_")) if isinstance(inferer, Mapping) else ""
    if "contract" not in entries and ("preset" in entries or target.endswith("from_preset")):
        raise InputError(
            f"{file}: found a bundle of contract 1 (presets), expected contract {VERSION}: put recipes and recipe in "
            "the place of preset, method in that of noise and consistency, SliceDiffusionInferer in that of "
            f'from_preset, and "contract": {VERSION}; {PAGE} has the entries of both'
        )


def table(contract: Mapping[str, Entry]) -> str:
    """A contract as a Markdown table, for the docs."""
    lines = ["| entry | value | required | read by | what it is |", "|---|---|---|---|---|"]
    lines += [
        f"| `{name}` | {entry.check.expected} | {'yes' if entry.required else ''} | {entry.readers} | {entry.meaning} |"
        for name, entry in contract.items()
    ]
    return "\n".join(lines) + "\n"
