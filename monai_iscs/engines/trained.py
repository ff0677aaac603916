# SPDX-License-Identifier: Apache-2.0
"""What a training changes: the weights of a denoiser, their average and the learning rate."""

from __future__ import annotations

import math
import os

import ignite.distributed as idist
import torch
from ignite.handlers import EMAHandler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from monai_iscs.priors import EDMDenoiser
from monai_iscs.priors.weights import load_weights


class TrainedDenoiser:
    """A denoiser in training, and the moving average of its weights, by which it is validated and used.

    Of several processes each has a copy; they start from the same weights and share their gradients.

    Args:
        denoiser: its network is trained.
        device: where it is trained.
        initial_weights: a file of weights to start from, such as a bundle's ``models/model.pt``.
        momentum, momentum_warmup, warmup_iters: of the average, see Ignite's ``EMAHandler``.
        memory_format: order of the weights in memory; by default channels last on CUDA, and else PyTorch's own.

    Attributes:
        network: the denoiser's network; the optimiser changes its weights.
        parallel: the same network as a trainer calls it, which shares the gradients between the processes.
        ema: Ignite's ``EMAHandler``.
        averaged: the denoiser with the averaged weights.

    Raises:
        InputError: the initial weights are missing, damaged or of another network, or are no weights.
    """

    def __init__(
        self,
        denoiser: EDMDenoiser,
        *,
        device: torch.device | str,
        initial_weights: str | os.PathLike[str] | None = None,
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
            load_weights(denoiser, initial_weights)
        self.ema = EMAHandler(self.network, momentum, momentum_warmup, warmup_iters)
        self.averaged = EDMDenoiser(self.ema.ema_model, sigma_data=denoiser.sigma_data).to(self.device)
        self.parallel = idist.auto_model(self.network) if idist.get_world_size() > 1 else self.network


def warmed_up_cosine(optimizer: Optimizer, *, warmup_steps: int, steps: int) -> LambdaLR:
    """A learning rate that rises to the optimiser's own in `warmup_steps` and falls to 0 along a cosine at `steps`."""

    def share(step: int) -> float:
        return min(1, (step + 1) / warmup_steps) * (1 + math.cos(math.pi * min(1, step / steps))) / 2

    return LambdaLR(optimizer, share)
