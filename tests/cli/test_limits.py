# SPDX-License-Identifier: Apache-2.0
"""Numbers that no machine holds are refused before the memory is gone, and say both numbers."""

from __future__ import annotations

import pytest

from monai_iscs.cli import limits
from monai_iscs.cli.limits import available_memory, check_memory
from monai_iscs.errors import InputError

HUGE = 10**17


def test_what_is_free_is_some_gigabytes_and_no_more_than_a_container_has(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "_CGROUP", tmp_path)
    free = available_memory()
    assert 10**7 < free < 10**14
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory() == pytest.approx(free, rel=0.5)
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("3000\n")
    assert available_memory() == 2000
    (tmp_path / "memory.current").write_text("9000\n")
    assert available_memory() == 0


def test_both_numbers_are_said(monkeypatch):
    monkeypatch.setattr(limits, "available_memory", lambda: 2 * 10**9)
    check_memory("--views", 10, 2e9)
    with pytest.raises(InputError, match=r"--views: found 11, which needs at least 2\.2 GB .* the 2\.0 GB that"):
        check_memory("--views", 11, 2.2e9)


@pytest.mark.parametrize("option", ["--views", "--steps"])
def test_a_reconstruction_of_more_than_there_is(fails, bundle, body, tmp_path, option):
    line = fails("reconstruct", body, "--bundle", bundle, "--output", tmp_path / "out", option, HUGE)
    assert f"{option}: found {HUGE}, which needs at least" in line
    assert "GB that are free" in line


def test_a_benchmark_of_more_than_there_is(fails, bundle, body, tmp_path):
    given = ["benchmark", body, "--bundle", bundle, "--output", tmp_path / "out", "--methods", "dds", "--lpips", "none"]
    assert f"--seeds: found {HUGE}, which needs at least" in fails(*given, "--seeds", HUGE)


def test_slices_of_more_than_there_is(fails, bundle, tmp_path):
    (tmp_path / "checkpoint.pth").write_text("not even read")
    given = ["convert", tmp_path / "checkpoint.pth", "--bundle", bundle, "--output", tmp_path / "out"]
    assert f"--size: found {HUGE}, which needs at least" in fails(*given, "--size", HUGE)
