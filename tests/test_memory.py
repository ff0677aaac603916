# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from monai_iscs import memory
from monai_iscs.memory import available_memory


def test_what_is_free_is_some_gigabytes_and_no_more_than_a_container_has(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    free = available_memory()
    assert 10**7 < free < 10**14
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory() == pytest.approx(free, rel=0.5)
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("3000\n")
    assert available_memory() == 2000
    (tmp_path / "memory.current").write_text("9000\n")
    assert available_memory() == 0
