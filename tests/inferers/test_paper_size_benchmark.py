# SPDX-License-Identifier: Apache-2.0
"""benchmarks/paper_size.py with its parts of network.py, at a tiny size on the CPU."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

TINY = {"device": ["cpu"], "shape": [8, 8, 4], "channels": [4] * 4, "views": [2], "steps": [4], "repeats": [1]}


@pytest.fixture
def benchmark(monkeypatch):
    """The script as a module; the modules that it imports from its folder are removed again."""
    names = ("paper_size", "network", "projector", "projector_gpu", "phantoms")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield import_module("paper_size")
    for name in names:
        sys.modules.pop(name, None)


def run(benchmark, monkeypatch, output: Path, *arguments: str) -> str:
    words = [word for name, values in TINY.items() for word in (f"--{name}", *map(str, values))]
    monkeypatch.setattr(sys, "argv", ["paper_size.py", *words, "--output", str(output), *arguments])
    benchmark.main()
    return output.read_text()


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]


def test_loops(benchmark, monkeypatch, tmp_path):
    """Each loop has its row, the peer's three steps count for four, and a failing loop only loses its own row."""
    whole = benchmark.whole

    def broken(*arguments, recipe=benchmark.RELEASED, **settings):
        if recipe.rule.momentum:
            raise torch.OutOfMemoryError("a | b\nc")
        return whole(*arguments, recipe=recipe, **settings)

    monkeypatch.setattr(benchmark, "whole", broken)
    text = run(benchmark, monkeypatch, tmp_path / "new" / "report.md", "--sections", "loop")
    head, _, fast, ours, peer = rows(text)
    assert {len(row) for row in (head, fast, ours, peer)} == {10}
    assert fast[2] == "not run: OutOfMemoryError: a / b"
    assert ours[:2] == ["ours, not compiled", "4"]
    assert peer[:2] == ["eager float32, 15 slices, 16-fold Slerp (3 steps made, scaled to 4)", "4"]
    for row in (ours, peer):
        assert 0 < float(row[5].rstrip("%")) < 100
    assert "eager: " in text
    assert "## Growth" not in text


def test_scaled_by_steps(benchmark, monkeypatch):
    """The start counts once, each missing step as much as those after the first."""
    now = [0.0]
    monkeypatch.setattr(sys.modules["network"].time, "process_time", lambda: now[0])

    def wait(seconds: float, *_: object) -> None:
        now[0] += seconds

    monkeypatch.setattr(benchmark.SliceBatches, "_denoise", lambda *_: wait(1.5))
    batches = []

    def job(*, steps, slice_batch=None, callback=lambda _: None):
        batches.append(slice_batch)
        wait(5.0)
        for _ in range(steps):
            benchmark.SliceBatches._denoise(None, None, 1.0, 7)
            wait(0.5)
            callback(None)

    found = benchmark.spent(job, 10, 3, torch.device("cpu"), 1, 2)
    assert (found.total, found.network, found.batch) == (5 + 10 * 2.0, 15.0, 7)
    assert batches == [None, None, 7]  # two calls to warm up, and then the same batches


def test_network_by_batches(benchmark):
    """Each precision has a time for each batch; the stack is taken in such parts."""
    network, sizes = sys.modules["network"], []

    def prior(x, sigma):
        sizes.append(len(x))
        return x

    stack, device = torch.rand(4, 1, 8, 8), torch.device("cpu")
    head, _, *found = rows("\n".join(network.batch_table(prior, stack, device, 1, (1, 3))))
    assert head == ["precision", "1", "3"]
    assert [row[0] for row in found] == ["float32", "bfloat16"]
    assert all(float(cell) > 0 for row in found for cell in row[1:])
    assert sizes == [1, 1, 1, 1, 2, 2] * 4  # two precisions, once to warm up


def test_killed_run_keeps_its_lines(benchmark, tmp_path):
    def lines():
        yield "first"
        yield "second"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        benchmark.write_lines(lines(), tmp_path / "report.md")
    assert (tmp_path / "report.md").read_text() == "first\nsecond\n"


def test_section_that_fails(benchmark, monkeypatch, tmp_path):
    """The others are still measured, and the run reports the failure."""
    monkeypatch.setattr(benchmark, "network_table", lambda *_, **__: 1 / 0)
    for name in ("SLICES", "VIEWS"):
        monkeypatch.setattr(benchmark, name, (4, 8, 16))
    output = tmp_path / "report.md"
    with pytest.raises(SystemExit, match="network"):
        run(benchmark, monkeypatch, output, "--sections", "growth", "network")
    text = output.read_text()
    assert "not finished: ZeroDivisionError" in text
    assert [row[0] for row in rows(text)[2:]] == ["4", "8", "16"] * 2
    assert text.count("size to the power of") == 2
