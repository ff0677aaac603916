# SPDX-License-Identifier: Apache-2.0
"""Checkpoints from which a killed training goes on."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint
from ignite.handlers.ema_handler import EMAHandler
from ignite.handlers.param_scheduler import BaseParamScheduler
from torch import Tensor, nn

from monai_iscs.errors import InputError
from monai_iscs.files import FolderLock, recover, staged
from monai_iscs.priors.weights import load_weights


def save_together(objects: Mapping[Path, Any]) -> None:
    """``torch.save`` of several files; in one folder all are old or all are new, even after a kill.

    Raises:
        OutputError: a folder can't be written, such as on a full disk; it is unchanged.
    """
    for folder in dict.fromkeys(path.parent for path in objects):
        folder.mkdir(parents=True, exist_ok=True)
        with staged(folder) as stage:
            for path, content in objects.items():
                if path.parent == folder:
                    with (stage / path.name).open("wb") as file:  # its errors are clearer than PyTorch's
                        torch.save(content, file)


def save_atomically(obj: Any, path: str | os.PathLike[str]) -> None:
    """``torch.save`` that leaves either the old file or the complete new one, even after a kill."""
    save_together({Path(path): obj})


class WeightsLoader:
    """Loads a network's weights when an engine starts, like MONAI's ``CheckpointLoader``, and checks them.

    Args:
        path: of the weights, see `load_weights`.
        network: gets the weights.
    """

    def __init__(self, path: str | os.PathLike[str], *, network: nn.Module) -> None:
        self.path, self.network = path, network

    def attach(self, engine: Engine) -> None:
        """Registers the handler with an engine."""
        engine.add_event_handler(Events.STARTED, self.load)

    def load(self, _: Engine) -> None:
        """Loads the weights; raises as `load_weights` does."""
        load_weights(self.network, self.path)


class _EventIndex:
    """The state of an Ignite scheduler as plain numbers: its own state has a class that a safe load refuses."""

    def __init__(self, scheduler: BaseParamScheduler) -> None:
        self.scheduler = scheduler

    def state_dict(self) -> dict[str, int]:
        return {"event_index": self.scheduler.event_index}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.scheduler.event_index = state["event_index"]


class ResumableCheckpoint:
    """Saves everything a training needs after every epoch, and restores it at the start of the next run.

    MONAI's ``CheckpointSaver`` writes to the final name directly, so that a kill during the write loses the run; this
    handler replaces checkpoint and weights together. It must be the last of the trainer's handlers. From its start to
    its end the training locks the checkpoint's folder.

    Args:
        path: the checkpoint file. If it exists when the training starts, the training goes on from it.
        save: objects to save, with ``state_dict`` and ``load_state_dict``. The trainer itself is added.
        ema: Ignite's exponential moving average of the trained network.
        exported: the denoiser around the averaged network; its weights are written in half precision to ``weights``.
        weights: file for the averaged weights after every epoch, or ``None``.

    Raises:
        InputError: when the training starts: another one runs in this folder, or the checkpoint does not fit. After an
            epoch: the training has diverged, or a file can't be written. The files are then those of the last good
            epoch.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        save: Mapping[str, Any],
        ema: EMAHandler,
        exported: nn.Module,
        weights: str | os.PathLike[str] | None = None,
    ) -> None:
        self.path, self.weights = Path(path), None if weights is None else Path(weights)
        self._lock: FolderLock | None = None
        self.save, self.ema, self.exported = dict(save), ema, exported

    def attach(self, engine: Engine) -> None:
        """Registers the handler with a trainer."""
        engine.add_event_handler(Events.STARTED, self.load)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.write)
        engine.add_event_handler(Events.COMPLETED, self._release)

    def _objects(self, engine: Engine) -> dict[str, Any]:
        objects = {**self.save, "trainer": engine, "ema": self.ema.ema_model}
        scheduler = getattr(self.ema, "momentum_scheduler", None)  # None without a warm-up
        if scheduler is not None:
            objects["ema_momentum"] = _EventIndex(scheduler)
        return objects

    def load(self, engine: Engine) -> None:
        """Restores the last finished epoch, if there is one, with its weights."""
        if idist.get_rank() == 0:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(self.path.parent)
            recover(self.path.parent)
        idist.barrier()
        if not self.path.exists():
            return
        epochs = engine.state.max_epochs
        try:
            checkpoint = torch.load(self.path, map_location="cpu", weights_only=True)
            Checkpoint.load_objects(to_load=self._objects(engine), checkpoint=checkpoint)
        except Exception as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            msg = f"{self.path}: found a checkpoint that does not fit ({reason}), expected this training's, or none"
            raise InputError(msg) from error
        engine.state.max_epochs = epochs
        logging.getLogger(__name__).info("resumed %s after epoch %d", self.path, engine.state.epoch)
        self._refuse_diverged(engine)
        if idist.get_rank() == 0 and self.weights is not None:
            save_together(self._averaged())  # the file may be from another epoch

    def write(self, engine: Engine) -> None:
        """Saves the state, and the averaged weights for inference; of several processes, the first one does."""
        self._refuse_diverged(engine)
        if idist.get_rank() > 0:
            return
        state = {name: item.state_dict() for name, item in self._objects(engine).items()}
        save_together({self.path: state, **self._averaged()})

    def _averaged(self) -> dict[Path, dict[str, Tensor]]:
        """The weights for inference, by their file."""
        if self.weights is None:
            return {}
        return {self.weights: {name: value.half() for name, value in self.exported.state_dict().items()}}

    def _refuse_diverged(self, engine: Engine) -> None:
        for weights in (self.ema.model.state_dict(), self.ema.ema_model.state_dict(), *self._averaged().values()):
            for name, value in weights.items():
                if not value.isfinite().all():
                    raise InputError(
                        f"epoch {engine.state.epoch}: found NaN or infinite weights in {name}, expected finite ones: "
                        f"the training has diverged (a lower learning rate may help); {self.path} is unchanged"
                    )

    def _release(self, _: Engine) -> None:
        if self._lock is not None:
            self._lock.release()
