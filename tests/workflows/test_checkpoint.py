# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time

import pytest
import torch

from monai_iscs.grid import Grid
from monai_iscs.randomness import random_stream
from monai_iscs.sampling import DDIMRule, IndependentNoise, Plugs, Run
from monai_iscs.workflows.checkpoint import NAME, Checkpoint

CPU = torch.device("cpu")
SIGMAS = [1.0, 0.5, 0.2, 0.1]


def make_run() -> Run:
    """A deterministic prior and measurement, and a rule with momentum."""
    grid = Grid.centered((5, 4, 3), (1.0, 1.0, 1.0))
    plugs = Plugs(
        start=lambda: torch.zeros(1, *grid.shape),
        prior=lambda x, sigma: x / (1 + sigma**2),
        consistency=lambda x0, sigma: x0 + 0.1,
        noise=IndependentNoise().bind(grid, 2, random_stream(3, "noise")),
        rule=DDIMRule(eta=0.5, momentum=0.3).bind(),
    )
    return Run(plugs, SIGMAS)


@pytest.fixture
def whole() -> torch.Tensor:
    """The result without an interruption."""
    run = make_run()
    for _ in run:
        pass
    return run.volume


def stop_after(steps: int, checkpoint: Checkpoint) -> None:
    run = make_run()
    for state in run:
        checkpoint.save(run)
        if state.index + 1 == steps:
            return


def finish(checkpoint: Checkpoint) -> tuple[int, torch.Tensor]:
    run = make_run()
    checkpoint.restore(run, CPU)
    for _ in run:
        pass
    return checkpoint.restored, run.volume


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_goes_on_with_the_same_bits(tmp_path, whole, steps, monkeypatch):
    monkeypatch.setattr("monai_iscs.workflows.checkpoint.MOST_TIME", 1e9)
    stop_after(steps, Checkpoint(tmp_path, {"steps": 4}))
    done, volume = finish(Checkpoint(tmp_path, {"steps": 4}))
    assert done == steps
    assert torch.equal(volume, whole)


def test_other_settings_begin_anew(tmp_path, whole):
    stop_after(2, Checkpoint(tmp_path, {"seed": 0}))
    assert (tmp_path / NAME).exists()
    done, volume = finish(Checkpoint(tmp_path, {"seed": 1}))
    assert done == 0
    assert torch.equal(volume, whole)


@pytest.mark.parametrize("fault", ["flipped", "cut", "text", "empty"])
def test_damaged_file_is_passed_over(tmp_path, whole, fault):
    stop_after(1, Checkpoint(tmp_path, {}))
    file = tmp_path / NAME
    content = bytearray(file.read_bytes())
    if fault == "flipped":
        values = make_run()
        next(iter(values))
        start = bytes(content).index(values.state.x0_hat.numpy().tobytes())
        content[start + 5] ^= 1
    file.write_bytes({"cut": content[:-100], "text": b"no checkpoint", "empty": b""}.get(fault, content))
    done, volume = finish(Checkpoint(tmp_path, {}))
    assert done == 0
    assert torch.equal(volume, whole)


def test_takes_no_more_than_its_share_of_the_time(tmp_path, monkeypatch):
    """Steps that are faster than a hundred checkpoints are not saved."""
    saved = []
    write = torch.save

    def slow(content: object, file: object) -> None:
        saved.append(content["run"]["index"])
        time.sleep(0.01)
        write(content, file)

    monkeypatch.setattr(torch, "save", slow)
    run, checkpoint = make_run(), Checkpoint(tmp_path, {})
    for _ in run:
        checkpoint.save(run)
    assert saved == [0]
    checkpoint._before -= 100 * checkpoint._cost
    checkpoint.save(run)
    assert saved == [0, 3]


def test_removed(tmp_path):
    checkpoint = Checkpoint(tmp_path, {})
    stop_after(1, checkpoint)
    checkpoint.remove()
    assert not list(tmp_path.iterdir())
    checkpoint.remove()
