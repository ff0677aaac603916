# SPDX-License-Identifier: Apache-2.0
"""The contract of a bundle: the docs, the checks and our bundles agree."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from monai_iscs.errors import InputError
from monai_iscs.sampling import RECIPES, Recipe
from monai_iscs.workflows.bundle import read_config
from monai_iscs.workflows.contract import CONTRACTS, INFERENCE, PAGE, VERSION, table

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = sorted(path.parents[1] for path in ROOT.glob("bundles/*/configs/inference.json"))


@pytest.mark.parametrize("kind", CONTRACTS)
def test_the_docs_have_the_table(kind):
    """To fix: replace the page's table by the result of `table`."""
    _, page = (ROOT / PAGE).read_text(encoding="utf-8").split(f"## `configs/{kind}.json`\n\n")
    assert page.startswith(table(CONTRACTS[kind]) + "\n")


def test_every_entry_that_the_package_reads_is_in_the_contract():
    read = re.compile(r'(?:get_parsed_content|place|given|blamed)\(\s*f?"([\w:]+)"')
    known = {*INFERENCE, *CONTRACTS["train"], "bundle_root"}
    for room in ("workflows", "studies", "cli"):
        for file in (ROOT / "monai_iscs" / room).glob("*.py"):
            for name in read.findall(file.read_text(encoding="utf-8")):
                assert name in known or name.startswith("initialize::"), f"{file.name} reads {name}"


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda path: path.name)
def test_our_bundles_keep_it(folder):
    for kind in CONTRACTS:
        read_config(folder, kind, {})
    recipes = read_config(folder, "inference", {}).get_parsed_content("recipes")
    assert {"default", *RECIPES} <= set(recipes)
    assert all(isinstance(recipe, Recipe) for recipe in recipes.values())


@pytest.fixture
def changed(bundle, tmp_path):
    """``changed(entries)``: the small bundle with some entries replaced, or removed where they are None."""

    def change(entries):
        folder = shutil.copytree(bundle, tmp_path / "changed")
        file = folder / "configs" / "inference.json"
        content = json.loads(file.read_text(encoding="utf-8")) | entries
        kept = {key: value for key, value in content.items() if value is not None or key not in entries}
        file.write_text(json.dumps(kept))
        return folder

    return change


OLD = {"_target_": "monai_iscs.inferers.SliceDiffusionInferer.from_preset", "name": "@preset"}


@pytest.mark.parametrize("entries", [{"contract": None, "preset": "default"}, {"contract": None, "inferer": OLD}])
@pytest.mark.parametrize("verb", ["reconstruct", "convert"])
def test_a_bundle_of_the_first_contract_is_told_how_to_become_one_of_the_second(
    fails, changed, body, tmp_path, entries, verb
):
    folder = changed(entries)
    line = fails(verb, body, "--bundle", folder, "--output", tmp_path / "out")
    assert f"{folder / 'configs' / 'inference.json'}: found a bundle of contract 1" in line
    assert f"expected contract {VERSION}: put recipes and recipe in the place of preset" in line
    assert PAGE in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("version", [1, 3, "2", True])
def test_another_version(fails, changed, body, tmp_path, version):
    line = fails("reconstruct", body, "--bundle", changed({"contract": version}), "--output", tmp_path / "out")
    assert f"inference.json: entry 'contract': found {version!r}, expected {VERSION}" in line


@pytest.mark.parametrize("name", [name for name, entry in INFERENCE.items() if entry.required])
def test_a_missing_entry(changed, name):
    with pytest.raises(InputError, match=rf"inference.json: entry '{name}': found no such entry, expected "):
        read_config(changed({name: None}), "inference", {})


def test_a_recipe_that_the_bundle_lacks(changed, bundle):
    with pytest.raises(InputError, match="entry 'recipe': found 'best', expected one of default, fast"):
        read_config(changed({"recipe": "best"}), "inference", {})
    with pytest.raises(InputError, match=r"^--recipe: found 'best', expected one of default, fast"):
        read_config(bundle, "inference", {"recipe": "best"})
