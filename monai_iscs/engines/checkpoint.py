# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that a killed training goes on from."""

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
from torch import nn

from monai_iscs.errors import InputError
from monai_iscs.priors.weights import load_weights


def save_atomically(obj: Any, path: str | os.PathLike[str]) -> None:
    """``torch.save`` that leaves either the old file or the whole new one, whatever happens in between."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        torch.save(obj, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_initial_weights(path: str | os.PathLike[str] | None, denoiser: nn.Module, average: nn.Module) -> None:
    """Starts a training from the weights of an earlier one, such as a bundle's ``models/model.pt``.

    Args:
        path: the weights of a denoiser, or ``None`` to start from random ones.
        denoiser: what is trained, with its preconditioning.
        average: the moving average of ``denoiser.network``, which starts at the same weights.

    Raises:
        InputError: the file is missing, damaged or of another network, or holds what are no weights.
    """
    if path is None:
        return
    if not Path(path).is_file():
        raise InputError(f"initial weights: found no file {path}")
    load_weights(denoiser, path)
    average.load_state_dict(denoiser.network.state_dict())


class _EventIndex:
    """Where a scheduler of Ignite stands, as plain numbers: its own state holds a class that a safe load refuses."""

    def __init__(self, scheduler: BaseParamScheduler) -> None:
        self.scheduler = scheduler

    def state_dict(self) -> dict[str, int]:
        return {"event_index": self.scheduler.event_index}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.scheduler.event_index = state["event_index"]


class ResumableCheckpoint:
    """Saves everything a training needs after every epoch, and takes it up again at the start of the next run.

    MONAI's ``CheckpointSaver`` writes straight to the final name, so that a kill during the write loses the run; this
    handler replaces the file in one step. It goes last among the trainer's handlers.

    Args:
        path: the checkpoint file. If it exists when the training starts, the training goes on from it.
        save: what to save: anything with ``state_dict`` and ``load_state_dict``. The trainer itself joins them.
        ema: Ignite's exponential moving average of the trained network.
        exported: the denoiser around the averaged network; its weights are written in half precision to ``weights``.
        weights: where the averaged weights go after every epoch, or ``None``.
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
        self.path, self.weights = Path(path), weights
        self.save, self.ema, self.exported = dict(save), ema, exported

    def attach(self, engine: Engine) -> None:
        """Registers the handler with a trainer."""
        engine.add_event_handler(Events.STARTED, self.load)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.write)

    def _objects(self, engine: Engine) -> dict[str, Any]:
        objects = {**self.save, "trainer": engine, "ema": self.ema.ema_model}
        if self.ema.momentum_scheduler is not None:
            objects["ema_momentum"] = _EventIndex(self.ema.momentum_scheduler)
        return objects

    def load(self, engine: Engine) -> None:
        """Restores the last finished epoch, if there is one."""
        if not self.path.exists():
            return
        epochs = engine.state.max_epochs
        try:
            checkpoint = torch.load(self.path, map_location="cpu", weights_only=True)
            Checkpoint.load_objects(to_load=self._objects(engine), checkpoint=checkpoint)
        except Exception as error:
            reason = str(error).splitlines()[0]
            msg = f"{self.path}: cannot go on from this checkpoint ({reason}); move it away to start anew"
            raise InputError(msg) from error
        engine.state.max_epochs = epochs
        logging.getLogger(__name__).info("resumed %s after epoch %d", self.path, engine.state.epoch)

    def write(self, engine: Engine) -> None:
        """Saves the state, and the averaged weights for inference; of several processes, the first one does."""
        if idist.get_rank() > 0:
            return
        save_atomically({name: item.state_dict() for name, item in self._objects(engine).items()}, self.path)
        if self.weights is not None:
            half = {name: value.half() for name, value in self.exported.state_dict().items()}
            save_atomically(half, self.weights)
