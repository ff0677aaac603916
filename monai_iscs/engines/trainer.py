# SPDX-License-Identifier: Apache-2.0
"""MONAI's engines, made ready to train a denoiser and to validate it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ignite.distributed as idist
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler, StatsHandler, TensorBoardStatsHandler, ValidationHandler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from monai_iscs.engines.checkpoint import ResumableCheckpoint
from monai_iscs.engines.denoising import NoiseLevels, TrainingBatch, ValidationBatch, denoising_psnr, mean_psnr
from monai_iscs.engines.seeds import EpochSeeds
from monai_iscs.engines.trained import TrainedDenoiser
from monai_iscs.engines.training import FiniteLoss, GradientClipping, UnscaledBFloat16


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
    """MONAI's ``SupervisedTrainer`` that trains a denoiser, and goes on from its last whole epoch if there is one.

    It clips gradients, ends at a loss that is NaN or infinite, and writes ``last.pt`` (to go on from) and ``model.pt``
    (the averaged weights, in half precision) after every epoch. Of several processes only the first logs and writes.

    Args:
        trained: the denoiser.
        optimizer: of ``trained.network``.
        schedule: the optimiser's learning rate, step by step.
        noise_levels: draws the noise level of each slice.
        validator: validates the averaged weights.
        val_interval: epochs between two validations.
        output_dir: folder of checkpoint, weights and TensorBoard's curves.
        seed: of the slices' order, their augmentation and their noise.
        train_handlers: further handlers; they come last.
        settings: further arguments of ``SupervisedTrainer``, such as ``max_epochs`` and ``train_data_loader``.
    """
    handlers = [
        EpochSeeds(seed),
        UnscaledBFloat16(),
        GradientClipping(trained.network),
        FiniteLoss(),
        LrScheduleHandler(schedule, print_lr=False, epoch_level=False),
        *_logs(StatsHandler, lambda _, step: step % 50 == 0, epoch_log=False, **_LOSS),
        *_logs(TensorBoardStatsHandler, 20, log_dir=output_dir, **_LOSS),
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
        network=trained.parallel,
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
    """MONAI's ``SupervisedEvaluator`` of a denoiser's averaged weights, by their PSNR at each of some noise levels.

    Args:
        trained: the denoiser.
        sigmas: the noise levels.
        output_dir: folder of TensorBoard's curves.
        val_handlers: further handlers; they come last.
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


def _loss(output: Mapping[str, Tensor]) -> Tensor:
    return output["loss"]


_LOSS = {"tag_name": "loss", "output_transform": _loss}


def _logs(handler: type, iteration_log: Any, **settings: Any) -> list[Any]:
    """A handler that logs, in the first process alone."""
    return [handler(iteration_log=iteration_log, **settings)] if idist.get_rank() == 0 else []
