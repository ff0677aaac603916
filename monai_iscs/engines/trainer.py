# SPDX-License-Identifier: Apache-2.0
"""The training of a denoiser: its weights and their average, the learning rate, and MONAI's engines."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import ignite.distributed as idist
import torch
from ignite.handlers import EMAHandler
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler, StatsHandler, TensorBoardStatsHandler, ValidationHandler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from monai_iscs.engines.checkpoint import ResumableCheckpoint
from monai_iscs.engines.denoising import NoiseLevels, TrainingBatch, ValidationBatch, denoising_psnr, mean_psnr
from monai_iscs.engines.seeds import EpochSeeds
from monai_iscs.engines.training import FiniteLoss, GradientClipping, UnscaledBFloat16
from monai_iscs.priors import EDMDenoiser
from monai_iscs.priors.weights import load_weights


class TrainedDenoiser:
    """A denoiser in training, and the moving average of its weights, for validation and use.

    Args:
        denoiser: its network is trained.
        device: where it is trained.
        initial_weights: a file of weights to start from, such as a bundle's ``models/model.pt``.
        copies: of initial weights that are for single slices, see `load_weights`.
        momentum, momentum_warmup, warmup_iters: of the average, see Ignite's ``EMAHandler``.
        memory_format: order of the weights in memory; by default channels last on CUDA, else PyTorch's own.

    Attributes:
        network: the denoiser's network; the optimiser changes its weights.
        ema: Ignite's ``EMAHandler``.
        averaged: the denoiser with the averaged weights.

    Raises:
        InputError: the initial weights are missing, damaged or of another network.
    """

    def __init__(
        self,
        denoiser: EDMDenoiser,
        *,
        device: torch.device | str,
        initial_weights: str | os.PathLike[str] | None = None,
        copies: int | None = None,
        momentum: float = 0.001,
        momentum_warmup: float = 0.02,
        warmup_iters: int = 2000,
        memory_format: torch.memory_format | None = None,
    ) -> None:
        self.denoiser, self.device = denoiser, torch.device(device)
        if memory_format is None:
            memory_format = torch.channels_last if self.device.type == "cuda" else torch.preserve_format
        self.network = denoiser.network.to(self.device, memory_format=memory_format)
        if initial_weights is not None:
            load_weights(denoiser, initial_weights, copies=copies)
        self.ema = EMAHandler(self.network, momentum, momentum_warmup, warmup_iters)
        self.averaged = denoiser.around(self.ema.ema_model).to(self.device)


def warmed_up_cosine(optimizer: Optimizer, *, warmup_steps: int, steps: int) -> LambdaLR:
    """A learning rate that rises to the optimiser's own in `warmup_steps` and falls to 0 along a cosine at `steps`."""

    def share(step: int) -> float:
        return min(1, (step + 1) / warmup_steps) * (1 + math.cos(math.pi * min(1, step / steps))) / 2

    return LambdaLR(optimizer, share)


def denoiser_trainer(
    trained: TrainedDenoiser,
    *,
    optimizer: Optimizer,
    schedule: LRScheduler,
    noise_levels: NoiseLevels,
    validator: SupervisedEvaluator,
    val_interval: int,
    output_dir: str,
    seed: int,
    train_handlers: Sequence[Any] = (),
    **settings: Any,
) -> SupervisedTrainer:
    """MONAI's ``SupervisedTrainer`` for a denoiser; it goes on from its last complete epoch if there is one.

    It clips gradients, stops at a loss that is NaN or infinite, and writes ``last.pt`` (the checkpoint) and
    ``model.pt`` (the averaged weights, in half precision) after every epoch. Several processes share the gradients; the
    first one logs and writes.

    Args:
        trained: the denoiser.
        optimizer: of ``trained.network``.
        schedule: the optimiser's learning rate, step by step.
        noise_levels: draws the sigma of each slice.
        validator: validates the averaged weights.
        val_interval: epochs between two validations.
        output_dir: folder of checkpoint, weights and TensorBoard's curves.
        seed: of the slices' order, their augmentation and their noise.
        train_handlers: further handlers, at the end.
        settings: further arguments of ``SupervisedTrainer``, such as ``max_epochs`` and ``train_data_loader``.
    """
    loss = {"tag_name": "loss", "output_transform": lambda output: output["loss"]}
    handlers = [
        EpochSeeds(seed),
        UnscaledBFloat16(),
        GradientClipping(trained.network),
        FiniteLoss(),
        LrScheduleHandler(schedule, print_lr=False, epoch_level=False),
        *_logs(StatsHandler, lambda _, step: step % 50 == 0, epoch_log=False, **loss),
        *_logs(TensorBoardStatsHandler, 20, log_dir=output_dir, **loss),
        ValidationHandler(val_interval, validator),
        ResumableCheckpoint(
            f"{output_dir}/last.pt",
            save={"network": trained.network, "optimizer": optimizer, "schedule": schedule},
            ema=trained.ema,
            exported=trained.averaged,
            weights=f"{output_dir}/model.pt",
        ),
    ]
    trainer = SupervisedTrainer(
        device=trained.device,
        network=idist.auto_model(trained.network) if idist.get_world_size() > 1 else trained.network,
        optimizer=optimizer,
        prepare_batch=TrainingBatch(trained.denoiser, noise_levels=noise_levels),
        train_handlers=[*handlers, *train_handlers],
        non_blocking=True,
        decollate=False,
        **settings,
    )
    trained.ema.attach(trainer)
    return trainer


def denoiser_evaluator(
    trained: TrainedDenoiser,
    *,
    sigmas: Sequence[float],
    output_dir: str,
    val_handlers: Sequence[Any] = (),
    **settings: Any,
) -> SupervisedEvaluator:
    """MONAI's ``SupervisedEvaluator`` of a denoiser's averaged weights, by their PSNR at some sigmas.

    Args:
        trained: the denoiser.
        sigmas: of the noise.
        output_dir: folder of TensorBoard's curves.
        val_handlers: further handlers, at the end.
        settings: further arguments of ``SupervisedEvaluator``, such as ``val_data_loader``.
    """
    handlers = [*_logs(StatsHandler, False), *_logs(TensorBoardStatsHandler, False, log_dir=output_dir)]
    return SupervisedEvaluator(
        device=trained.device,
        network=trained.averaged,
        prepare_batch=ValidationBatch(sigmas),
        key_val_metric={"psnr": mean_psnr()},
        additional_metrics=denoising_psnr(sigmas),
        val_handlers=[*handlers, *val_handlers],
        decollate=False,
        **settings,
    )


def _logs(handler: type, iteration_log: Any, **settings: Any) -> list[Any]:
    """A handler that logs, in the first process only."""
    return [handler(iteration_log=iteration_log, **settings)] if idist.get_rank() == 0 else []
