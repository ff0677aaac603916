# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.workflows import bundle as module
from monai_iscs.workflows.bundle import bundle_names, find_bundle, load_network, read_config


@pytest.fixture
def shelves(tmp_path, monkeypatch):
    """A working directory with its own bundles a and b, and a package with one bundle, a."""
    for folder in ("here/a", "here/bundles/a", "here/bundles/b", "package/a"):
        (tmp_path / folder / "configs").mkdir(parents=True)
        (tmp_path / folder / "configs" / "metadata.json").write_text("{}")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(module, "_SHELF", tmp_path / "package")
    return tmp_path


def test_a_bare_name_is_the_package_s_own_whatever_lies_in_the_working_directory(shelves):
    assert bundle_names() == ["a"]
    assert find_bundle("a") == shelves / "package" / "a"
    with pytest.raises(InputError, match=r"found 'b', expected one of a, or a path such as ./my_bundle$"):
        find_bundle("b")
    (shelves / "here" / "c").mkdir()
    with pytest.raises(InputError, match=r"the folder of that name here is \./c$"):
        find_bundle("c")


@pytest.mark.parametrize("path", ["./a", "a/", "bundles/b", "../here/a", Path("a"), Path("bundles", "a")])
def test_a_path_is_a_folder(shelves, path):
    assert find_bundle(path) == (shelves / "here" / path).resolve()
    assert find_bundle(str(shelves / "here" / path)) == (shelves / "here" / path).resolve()


def test_the_working_directory_and_home_are_paths(shelves, monkeypatch):
    monkeypatch.chdir("a")
    assert find_bundle(".") == shelves / "here" / "a"
    monkeypatch.setenv("HOME", str(shelves / "here"))
    assert find_bundle("~/a") == shelves / "here" / "a"


@pytest.mark.parametrize("path", ["./d", "/", "", " ", ".", "..", "~nosuchuser", "~nosuchuser/a", "./a\0", Path("d")])
def test_what_is_no_bundle_is_refused(shelves, path):
    with pytest.raises(InputError, match="found "):
        find_bundle(path)


def test_the_demo_runs_the_package_s_own(shelves, fails):
    assert "found 'body_ct_reconstruction', expected one of a" in fails("demo", "--output", shelves / "out")


def test_the_shipped_bundle_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (find_bundle("body_ct_reconstruction") / "configs" / "inference.json").is_file()


def test_overrides_replace_entries_of_the_config(bundle):
    config = read_config(bundle, "inference", {"views": 4, "photons": 1e4})
    assert config.get_parsed_content("scan").views == 4
    assert config.get_parsed_content("bundle_root") == str(bundle)
    with pytest.raises(InputError, match="found no entry 'colour', expected one, which"):
        read_config(bundle, "inference", {"colour": 4})
    with pytest.raises(InputError, match=r"admm.json: found no such file"):
        read_config(bundle, "admm", {})


def test_the_network_is_ready_to_be_used(bundle):
    network = load_network(read_config(bundle, "inference", {}), torch.device("cpu"))
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert next(network.parameters()).dtype == torch.float32
