# SPDX-License-Identifier: Apache-2.0
"""Random numbers of a training: they depend on its seed only, even after interruptions."""

from __future__ import annotations

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data.utils import set_rnd

from monai_iscs.engines.denoising import TrainingBatch


class EpochSeeds:
    """Seeds the random numbers of every epoch by the training's seed, the epoch and the process.

    They are the order of the slices, their augmentation and their noise. A training that goes on from a checkpoint
    therefore draws the same numbers as without the interruption. Several processes augment differently; their common
    order is that of MONAI's ``DistributedSampler``.

    The worker processes of a loader draw their seeds from PyTorch's generator when they start, so they must start with
    every epoch: no ``persistent_workers``. Each augments its own batches, so that another number of workers gives
    another, equally reproducible augmentation.

    Args:
        seed: of the training.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def attach(self, engine: Engine) -> None:
        """Registers the handler with a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._reseed)

    def _reseed(self, engine: Engine) -> None:
        entropy = np.random.SeedSequence((self.seed, engine.state.epoch, idist.get_rank()))
        order, augmentation, noise = map(int, entropy.generate_state(3))
        torch.manual_seed(order)  # the loader's, and its workers'
        set_rnd(engine.data_loader.dataset, augmentation)  # without workers
        if isinstance(engine.prepare_batch, TrainingBatch):
            engine.prepare_batch.reseed(noise)
