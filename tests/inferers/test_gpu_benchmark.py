# SPDX-License-Identifier: Apache-2.0
"""benchmarks/gpu.py and gpu_sections.py, rehearsed on the CPU, or with short programs as sections."""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest
import torch


@pytest.fixture
def script(monkeypatch):
    """``script(name)``: a script as a module; what it imports from its folder is removed again."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    names = ("gpu", "gpu_sections", "projector_gpu")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield import_module
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def gpu(script):
    return script("gpu")


def test_rehearsal(gpu, monkeypatch, tmp_path, capsys):
    """Two sections; a finished one isn't run again, and a page doesn't mix a rehearsal's figures with a GPU's."""
    words = ["--output", str(tmp_path), "--sections", "triton", "environment"]
    assert gpu.main([*words, "--rehearse"]) == 0
    page = (tmp_path / "results.md").read_text()
    assert page.startswith("# A rehearsal")
    assert "| network | The network | not run |" in page
    assert page.index("## The machine") < page.index("## Triton against numba")
    assert f"torch {torch.__version__.split('+')[0]}" in page
    cells = [line.split("|")[1:] for line in page.splitlines() if line.startswith(("| flat |", "| curved"))]
    assert len(cells) == 3
    assert all(0 < float(row[1]) < 1e-6 for row in cells)
    record = json.loads((tmp_path / "triton.json").read_text())
    assert (record["status"], record["rehearsal"], record["log"]) == ("finished", True, [])
    assert {file.name for file in tmp_path.iterdir()} == {"environment.json", "triton.json", "results.md"}

    monkeypatch.setattr(gpu, "run", lambda *_: pytest.fail("a finished section runs again"))
    assert gpu.main([*words, "--rehearse"]) == 0
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert gpu.main(words) == 2
    assert capsys.readouterr().err == f"{tmp_path}: found results of a rehearsal, expected a folder without them\n"


def test_failure_time_limit_and_resumption(gpu, monkeypatch, tmp_path):
    """A section that breaks or takes too long is named, with its report so far and its last words; the others go on."""
    programs = {
        "environment": "print('half', flush=True); raise SystemExit('a cable | is loose')",
        "tests": "import time; print('# begun', flush=True); time.sleep(60)",
        "triton": "print('| torch | not run: none here |')",
    }
    shares = {"environment": 10, "tests": 1, "triton": 10}
    sections = {name: gpu.SECTIONS[name]._replace(share=share) for name, share in shares.items()}
    monkeypatch.setattr(gpu, "SECTIONS", sections)
    monkeypatch.setattr(gpu, "words", lambda name, _: ["-c", programs[name]])
    words, start = ["--output", str(tmp_path / "new"), "--rehearse", "--minutes", "0.35"], time.perf_counter()
    assert gpu.main(words) == 1
    assert time.perf_counter() - start < 12  # about a tenth of 21 s for the one that takes too long
    page = (tmp_path / "new" / "results.md").read_text()
    assert "| environment | The machine | failed (exit status 1) |" in page
    assert "half\n\nIts last lines:\n\n```\na cable | is loose\n```" in page
    assert "| tests | Tests | out of time |" in page
    assert "\n### begun\n" in page
    assert "| triton | Triton against numba | finished; rows not run: 1 |" in page

    programs |= dict.fromkeys(("environment", "tests"), "print('repaired')")
    programs["triton"] = "raise SystemExit('runs again')"
    assert gpu.main(words) == 0
    page = (tmp_path / "new" / "results.md").read_text()
    assert page.count("\nrepaired\n") == 2
    assert "loose" not in page


def test_bad_arguments(gpu, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "gpu.py: found no CUDA device, expected one (--rehearse runs on the CPU)\n"
    assert gpu.main(["--output", str(tmp_path), "--rehearse", "--minutes", "0"]) == 2
    assert capsys.readouterr().err == "--minutes: found 0, expected more than 0\n"
    assert not list(tmp_path.iterdir())


def test_tests_that_fail(script, monkeypatch, tmp_path):
    """They are counted and named with their last lines, and the section fails."""
    file = tmp_path / "test_three.py"
    file.write_text(
        "import pytest\n\ndef test_good(): pass\n\ndef test_bad(): assert 1 == 2\n\n"
        "def test_absent(): pytest.skip('needs two GPUs')\n"
    )
    sections = script("gpu_sections")
    empty = tmp_path / "test_empty.py"
    empty.touch()
    monkeypatch.setattr(sections, "TESTS", (str(file), str(empty)))
    monkeypatch.setattr(sections, "CHOSEN", "test_three")
    found = []
    with pytest.raises(SystemExit, match=r"found failures in \S+test_three.py, \S+test_empty.py, expected none"):
        found.extend(sections.tests(True))
    text = "\n".join(found)
    assert text.startswith(f"- {file}: 1 passed, 1 failed, 1 skipped (1: needs two GPUs), ")
    assert f"- {empty}: 0 passed, 0 failed, 0 skipped, " in text
    assert "exit status there: 5" in text
    assert "test_three.test_bad:" in text
    assert "E   assert 1 == 2" in text
