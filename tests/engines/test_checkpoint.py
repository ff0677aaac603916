# SPDX-License-Identifier: Apache-2.0
"""Files that a training writes and starts from, also after errors; with an engine without slices."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler

from monai_iscs.engines import FiniteLoss, ResumableCheckpoint, TrainedDenoiser, save_atomically
from monai_iscs.errors import InputError
from monai_iscs.priors import EDMDenoiser


class Training:
    """A training of a linear layer whose weights are changed by `step`."""

    def __init__(self, folder: Path, step: Callable[[Engine, torch.nn.Linear], object] | None = None) -> None:
        self.network = torch.nn.Linear(2, 2)
        ema = EMAHandler(self.network, momentum=0.5)

        def process(engine: Engine, _: object) -> object:
            with torch.no_grad():
                self.network.weight.fill_(float(engine.state.iteration))
            return step and step(engine, self.network)

        self.engine = Engine(process)
        ema.attach(self.engine)
        FiniteLoss(interval=2).attach(self.engine) if step else None
        self.checkpoint = ResumableCheckpoint(
            folder / "last.pt", save={"network": self.network}, ema=ema, exported=ema.ema_model,
            weights=folder / "model.pt",
        )  # fmt: skip
        self.checkpoint.attach(self.engine)

    def run(self, epochs: int) -> None:
        self.engine.run([0, 0, 0], max_epochs=epochs)


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def epoch_of_both(folder: Path) -> int:
    """The epoch of the checkpoint; the weights for inference must be of the same."""
    last, weights = (torch.load(folder / name, weights_only=True) for name in ("last.pt", "model.pt"))
    assert all(torch.equal(weights[name], value.half()) for name, value in last["ema"].items())
    return last["trainer"]["iteration"] // 3


def test_checkpoint_and_weights_change_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If any of the renames fails, both are of the epoch before."""
    Training(tmp_path).run(1)
    replace, left = os.replace, 0

    def failing(source: object, target: object) -> None:
        nonlocal left
        left -= 1
        if left == -1:
            raise OSError(5, "Input/output error", str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    for number in range(5):
        left = number
        with pytest.raises(InputError, match="Input/output error"):
            Training(tmp_path).checkpoint.write(Training(tmp_path).engine)
        assert epoch_of_both(tmp_path) == 1
        assert set(files(tmp_path)) == {"last.pt", "model.pt"}


def test_a_resumed_training_exports_its_weights_again(tmp_path: Path) -> None:
    Training(tmp_path).run(1)
    old = (tmp_path / "model.pt").read_bytes()
    Training(tmp_path).run(2)
    (tmp_path / "model.pt").write_bytes(old)
    with pytest.raises(AssertionError):
        epoch_of_both(tmp_path)
    Training(tmp_path).run(2)  # nothing is left to do
    assert epoch_of_both(tmp_path) == 2
    (tmp_path / "model.pt").unlink()
    Training(tmp_path).run(2)
    assert epoch_of_both(tmp_path) == 2


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    Training(tmp_path).run(1)
    before = files(tmp_path)
    training = Training(tmp_path)

    @training.engine.on(Events.ITERATION_COMPLETED)
    def spoil(_: Engine) -> None:
        training.network.bias.data[1] = float("nan")

    with pytest.raises(InputError, match=f"epoch 2: found NaN or infinite weights in bias.*{tmp_path / 'last.pt'}"):
        training.run(2)
    assert files(tmp_path) == before

    last = torch.load(tmp_path / "last.pt", weights_only=True)
    last["ema"]["bias"][0] = float("inf")
    torch.save(last, tmp_path / "last.pt")
    with pytest.raises(InputError, match="epoch 1: found NaN or infinite weights in bias"):
        Training(tmp_path).run(2)


@pytest.mark.parametrize(("lost", "noticed"), [(1, 2), (2, 2), (3, 3), (4, 4), (5, 6)])
def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path, lost: int, noticed: int) -> None:
    def step(engine: Engine, _: torch.nn.Linear) -> dict[str, torch.Tensor]:
        return {"loss": torch.tensor(float("inf") if engine.state.iteration == lost else 1.0)}

    with pytest.raises(InputError, match=f"step {noticed}: found a loss that is NaN or infinite"):
        Training(tmp_path, step).run(2)
    assert (tmp_path / "last.pt").exists() == (lost > 3)


def test_one_training_at_a_time(tmp_path: Path, taken: Callable[[Path], None]) -> None:
    taken(tmp_path)
    with pytest.raises(InputError, match=f"{tmp_path}: found another run that is writing there"):
        Training(tmp_path).run(1)
    assert files(tmp_path) == {}


def test_the_folder_is_free_after_a_training(tmp_path: Path, taken: Callable[[Path], None]) -> None:
    training = Training(tmp_path)
    training.run(1)
    taken(tmp_path)


def test_a_disk_that_fills_up(small_disk: Callable[..., Path]) -> None:
    disk = small_disk(megabytes=0.1, files=50)
    Training(disk).run(1)
    before = files(disk)
    (disk / "other").write_bytes(b"x" * (shutil.disk_usage(disk).free - 4096))
    with pytest.raises(InputError, match=f"{disk}: the disk is full"):
        Training(disk).run(2)
    (disk / "other").unlink()
    assert files(disk) == before
    Training(disk).run(2)
    assert epoch_of_both(disk) == 2


def test_interrupted_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.pt"
    save_atomically({"a": 1}, path)

    def fail(obj: object, file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(InputError, match=f"{tmp_path}: the disk is full"):
        save_atomically({"a": 2}, path)
    monkeypatch.undo()
    assert torch.load(path) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "found no such file, expected trained weights"),
        (b"half of it", "found a damaged file or one of another kind, expected weights"),
        ({"a": torch.ones(1)}, "found weights that do not fit"),
    ],
)
def test_unusable_initial_weights_are_named(tmp_path: Path, content: dict | bytes | None, message: str) -> None:
    path = tmp_path / "weights.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    denoiser = EDMDenoiser(torch.nn.Linear(2, 2), sigma_data=0.5)
    with pytest.raises(InputError, match=message) as error:
        TrainedDenoiser(denoiser, device="cpu", initial_weights=path)
    assert str(path) in str(error.value)
