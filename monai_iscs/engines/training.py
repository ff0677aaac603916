# SPDX-License-Identifier: Apache-2.0
"""The device of a training: mixed precision, gradient clipping and the processes that prepare batches."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from monai.inferers import SimpleInferer
from torch import Tensor, nn

from monai_iscs.errors import InputError
from monai_iscs.precision import check_precision, choose_precision, computing_in


def has_bfloat16(device: torch.device | str) -> bool:
    """Whether a training on this device computes in bfloat16: on CUDA devices that have it in hardware.

    MONAI's ``amp`` does it, which is for CUDA only.
    """
    device = torch.device(device)
    return device.type == "cuda" and choose_precision(None, device) == "bfloat16"


def worker_count(device: torch.device | str) -> int:
    """Processes that prepare a loader's batches: up to 8 for CUDA, none for a CPU, which is already busy.

    Each has its own core, and so has the training; the training processes of one machine share its cores.
    """
    if torch.device(device).type != "cuda":
        return 0
    return min(8, max(0, (os.cpu_count() or 1) // idist.get_nproc_per_node() - 1))


class PrecisionInferer(SimpleInferer):
    """MONAI's `SimpleInferer`, in the fast precision of a CPU: MONAI's ``amp`` is for CUDA only.

    Results are float32. On other devices it changes nothing.

    Args:
        device: of the network.
        precision: "float32" or "bfloat16"; None: see `choose_precision`.
    """

    def __init__(self, device: torch.device | str, *, precision: str | None = None) -> None:
        super().__init__()
        self.device = torch.device(device)
        check_precision(precision, self.device)
        self.precision = choose_precision(precision, self.device)

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        if self.device.type != "cpu":
            return super().__call__(inputs, network, *args, **kwargs)
        with computing_in(self.precision, self.device):
            return super().__call__(inputs, network, *args, **kwargs).to(inputs.dtype)


class GradientClipping:
    """Clips the norm of the gradient before each optimiser step, with and without MONAI's ``amp``.

    Args:
        network: its parameters' gradients are clipped.
        max_norm: largest allowed norm.
    """

    def __init__(self, network: nn.Module, *, max_norm: float = 1.0) -> None:
        self.network, self.max_norm = network, max_norm

    def attach(self, engine: Engine) -> None:
        """Registers the handler with a trainer."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._clip)

    def _clip(self, engine: Engine) -> None:
        length = engine.state.epoch_length or math.inf
        done = (engine.state.iteration - 1) % length + 1
        if done % engine.accumulation_steps and done < length:
            return  # no step yet: gradients are accumulated
        if engine.scaler is not None:
            engine.scaler.unscale_(engine.optimizer)  # otherwise the norm would be some 65,536 times the gradient's
        nn.utils.clip_grad_norm_(self.network.parameters(), self.max_norm)


class FiniteLoss:
    """Stops a training with an error when its loss is NaN or infinite: its weights cannot recover.

    Every loss counts, but checks are rare, because a GPU must wait for each.

    Args:
        interval: steps between two checks; there is always one at the end of an epoch.
    """

    def __init__(self, *, interval: int = 50) -> None:
        self.interval = interval
        self._finite: Tensor | None = None

    def attach(self, engine: Engine) -> None:
        """Registers the handler with a trainer; before the one that saves, so that a bad epoch is not saved."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._note)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.interval), self._look)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._look)

    def _start(self, _: Engine) -> None:
        self._finite = None

    def _note(self, engine: Engine) -> None:
        finite = engine.state.output["loss"].detach().isfinite().all()
        self._finite = finite if self._finite is None else self._finite & finite

    def _look(self, engine: Engine) -> None:
        if self._finite is not None and not self._finite:
            raise InputError(
                f"epoch {engine.state.epoch}, step {engine.state.iteration}: found a loss that is NaN or infinite, "
                "expected a finite one: the training has diverged (a lower learning rate may help); the saved files "
                "are of the last good epoch"
            )


class UnscaledBFloat16:
    """Removes the loss scaler of MONAI's ``amp`` if that computes in bfloat16.

    bfloat16 has the range of float32, so that nothing over- or underflows. The scaler's check for overflow would make a
    GPU wait at every step.
    """

    def attach(self, engine: Engine) -> None:
        """Registers the handler with a trainer."""
        engine.add_event_handler(Events.STARTED, self._disable)

    def _disable(self, engine: Engine) -> None:
        if engine.amp and engine.amp_kwargs.get("dtype") is torch.bfloat16:
            # not None, which for MONAI also means no autocast
            engine.scaler = torch.amp.GradScaler(engine.state.device.type, enabled=False)
