# SPDX-License-Identifier: Apache-2.0
"""Numbers that fit no machine are refused before memory runs out, with both numbers in the message."""

from __future__ import annotations

import pytest

from monai_iscs.errors import InputError
from monai_iscs.workflows import limits
from monai_iscs.workflows.limits import check_memory

HUGE = 10**17


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
