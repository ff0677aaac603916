# SPDX-License-Identifier: Apache-2.0
"""A damaged bundle ends in one line that names the file; `benchmarks/damaged_bundles.py` tries hundreds more."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest

from monai_iscs.errors import InputError
from monai_iscs.workflows.config import BundleConfig
from monai_iscs.workflows.contract import CONTRACTS

# A run notices if these are removed; of the others only the parts that a run reads are tried.
NAMED = {
    "inference: the file a folder": "found a folder",
    "inference: the file UTF-16": "found no valid JSON",
    "inference: the file nested too deep": "found no valid JSON",
    "inference: the file without entries": "found no entry 'seed'",
    "inference: size negative": "entry 'size': found -1, expected a whole number of at least 1",
    "inference: size huge": "entry 'size': found 1000",
    "inference: views of another type": "entry 'views': found 'text', expected a whole number",
    "inference: views huge": "GB of memory, expected one that fits",
    "inference: arc not a number": "entry 'arc': found nan, expected a number above 0, up to 360",
    "inference: hu_range empty": "entry 'hu_range': found []",
    "inference: measurement_seed huge": "entry 'measurement_seed'",
    "inference: steps of another type": "entry 'steps'",
    "inference: compiled null": "entry 'compiled': found None, expected true or false",
    "inference: settings of another type": "entry 'settings'",
    "inference: baselines empty": "entry 'baselines'",
    "inference: scan removed": "entry 'scan': found no such entry, expected",
    "inference: scan null": "entry 'scan': found None, expected a scan",
    "inference: scan of an unknown class": "entry 'scan'",
    "inference: scan of another class": "entry 'scan'",
    "inference: scan with an unknown argument": "entry 'scan'",
    "inference: scan::unit_attenuation with a syntax error": "entry 'scan::unit_attenuation'",
    "inference: scan::unit_attenuation that divides by zero": "ZeroDivisionError",
    "inference: network_def null": "entry 'network_def'",
    "inference: ckpt_path null": "entry 'ckpt_path': found None, expected the path of a file",
    "inference: preprocessing of an unknown class": "entry 'preprocessing'",
    "inference: measurement::scan null": "entry 'measurement'",
    "inference: display removed": "entry 'display': found no such entry, expected",
    "inference: display null": "entry 'display'",
    "inference: comparison of another class": "entry 'comparison'",
    "inference: contract removed": "entry 'contract': found no such entry, expected 2",
    "inference: contract negative": "entry 'contract': found -1, expected 2",
    "inference: recipes null": "entry 'recipes': found None, expected recipes by name",
    "inference: recipes::default removed": "entry 'recipes::",
    "inference: recipes::default of an unknown class": "entry 'recipes::default'",
    "inference: recipes::default::prior of another type": "entry 'recipes::default'",
    "inference: recipes::fast::noise of another type": "entry 'recipes::fast'",
    "inference: recipes::paper that divides by zero": "entry 'recipes::paper'",
    "inference: recipe of another type": "entry 'recipe': found 7, expected the name of a recipe",
    "inference: method of another type": "entry 'method': found 'text', expected a sampler",
    "inference: distributed null": "entry 'distributed': found None, expected true or false",
    "inference: plugs of another type": "entry 'plugs'",
    "inference: inferer of another class": "entry 'inferer'",
    "inference: inferer::recipe null": "entry 'inferer'",
    "inference: hardware removed": "entry 'hardware': cannot be used",
    "inference: hardware with an unknown argument": "entry 'hardware'",
    "train: the file missing": "found no such file",
    "train: epochs null": "entry 'epochs': found None",
    "train: batch_size of another type": "entry 'batch_size'",
    "train: validation_sigmas empty": "entry 'validation_sigmas'",
    "train: train removed": "train.json",
    "train: initialize null": "entry 'initialize'",
    "train: optimizer of an unknown class": "entry 'optimizer'",
    "train: a circular reference": "train.json",
}


@pytest.fixture(scope="module")
def damaging():
    """The script with the damages."""
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        yield import_module("damaged_bundles")
    finally:
        sys.path.remove(folder)
        sys.modules.pop("damaged_bundles", None)


@pytest.fixture(scope="module")
def world(damaging, tmp_path_factory):
    """A small bundle, a volume in a training folder, and all the damages by name."""
    root = tmp_path_factory.mktemp("damaged")
    bundle = damaging.make_bundle(root / "tiny")
    for name in ("train", "val"):
        (root / "data" / name).mkdir(parents=True)
        damaging.make_volume(root / "data" / name / "body.nii.gz")
    volume = damaging.make_volume(root / "data" / "body.nii.gz")
    damages = list(damaging.file_damages(("configs/inference.json", "configs/train.json")))
    for kind in damaging.CHANGES:
        damages += damaging.entry_damages(kind, json.loads((bundle / "configs" / f"{kind}.json").read_text()))
    return bundle, volume, {damage.name: damage for damage in damages}


@pytest.mark.parametrize("name", NAMED)
def test_a_damaged_bundle_is_one_line_that_names_file_and_entry(damaging, world, tmp_path, name):
    bundle, volume, damages = world
    with damaging.without_figures():
        result, said = damaging.outcome(damages[name], bundle, volume, tmp_path)
    assert result == "told", said
    assert NAMED[name] in said


def test_there_are_more_than_a_hundred_damages(world):
    assert len(world[2]) > 500


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in CONTRACTS for name in CONTRACTS[kind]])
def test_no_entry_may_be_of_a_type_of_its_own(kind, name):
    check = CONTRACTS[kind][name].check
    assert not check.usable(object())
    assert check.expected


def test_the_entry_at_fault_is_named_not_the_one_that_was_asked_for(tmp_path):
    entries = {"asked": "@between", "between": {"_target_": "builtins.dict", "a": "@guilty"}, "guilty": "$1 / 0"}
    config = BundleConfig(entries, tmp_path / "inference.json")
    with pytest.raises(InputError, match=r"inference.json: entry 'guilty': cannot be used \(ZeroDivisionError"):
        config.get_parsed_content("asked")


def test_what_a_user_can_mend_is_not_put_on_the_bundle(tmp_path):
    config = BundleConfig({"a": 1}, tmp_path / "inference.json")
    with pytest.raises(InputError, match=r"^body.nii: is flat$"), config.blamed("a"):
        raise InputError("body.nii: is flat")
    with pytest.raises(InputError, match=r"entry 'a': cannot be used \(TypeError: no\)"), config.blamed("a"):
        raise TypeError("no")
