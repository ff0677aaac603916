# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.workflows import bundle as module
from monai_iscs.workflows.bundle import (
    bundle_names,
    choose_device,
    find_bundle,
    limit_memory,
    load_network,
    read_config,
)


@pytest.fixture
def shelves(tmp_path, monkeypatch):
    """A working directory with bundles a and b of its own, and a package whose one bundle is a."""
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
    with pytest.raises(InputError, match="has no entry 'colour'"):
        read_config(bundle, "inference", {"colour": 4})
    with pytest.raises(InputError, match=r"admm.json: missing"):
        read_config(bundle, "admm", {})


def test_the_network_is_ready_to_be_used(bundle):
    network = load_network(read_config(bundle, "inference", {}), torch.device("cpu"))
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert next(network.parameters()).dtype == torch.float32


@pytest.mark.skipif(torch.accelerator.is_available(), reason="needs a machine without an accelerator")
@pytest.mark.parametrize(
    ("processes", "rank", "name", "device"),
    [
        (1, 0, None, "cuda:0"),
        (4, 2, None, "cuda:2"),
        (4, 1, "cuda", "cuda:1"),
        (1, 0, "cuda:3", "cuda:3"),
        (4, 2, "cpu", "cpu"),
    ],
)
def test_each_process_has_its_own_gpu(monkeypatch, processes, rank, name, device):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 4)
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    monkeypatch.setenv("LOCAL_RANK", str(rank))
    assert choose_device(name) == torch.device(device)
    if processes > 1:
        with pytest.raises(InputError, match="found 'cuda:1' with 4 processes, expected cuda"):
            choose_device("cuda:1")


def test_the_memory_limit_is_this_process_s_share(monkeypatch):
    given = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (10**9, 40 * 10**9))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *share: given.append(share))
    limit_memory(torch.device("cuda"), 12)
    assert given == [(0.3, torch.device("cuda"))]
    with pytest.raises(InputError, match=r"--memory: found 41 GB, expected at most the 40\.0 GB that cuda has"):
        limit_memory(torch.device("cuda"), 41)


def test_devices_of_a_plain_machine():
    assert choose_device(None) == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="expected one that this machine has: cpu"):
        choose_device("cuda:0")
