# SPDX-License-Identifier: Apache-2.0
"""The sampler's re-noising for MONAI's own `DiffusionInferer`."""

from __future__ import annotations

from typing import Any

import torch
from monai.networks.schedulers import Scheduler
from monai.networks.schedulers.ddpm import DDPMPredictionType
from torch import Tensor

from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.randomness import random_stream
from monai_iscs.sampling import BoundNoise, DDIMRule, Rule, SlerpNoise, SliceNoise, renoise

ANCESTRAL = DDIMRule(1.0)


class ISCSScheduler(Scheduler):
    """Sample a stack of slices with slice-consistent noise and a network trained with MONAI's parts.

    The same re-noising as in `monai_iscs.sampling`, for a variance preserving network: x_vp = sqrt(a) x and sigma =
    sqrt((1 - a) / a) with a = alphas_cumprod[t]. The batch dimension is the stack:

        scheduler.set_timesteps(50)
        stack = DiffusionInferer(scheduler).sample(scheduler.start(torch.empty(slices, 1, 256, 256)), network)

    A step goes to the next timestep of its own list, for any number of steps, and the last one to the clean image
    (MONAI 1.6's `DDIMScheduler` steps by T // n although its list does not). Sigmas are computed from a float64 copy of
    `alphas_cumprod`, which a half precision `add_noise` cannot change. Samples are not clipped. Stacks of half
    precision are computed and returned in float32: call a network of half precision under autocast.

    Args:
        num_train_timesteps: T of the training.
        schedule: name of the training's schedule in MONAI's `NoiseSchedules`.
        noise: slice noise, `SlerpNoise()` if None; slices count as 1 mm apart.
        rule: re-noising rule, without momentum; `DDIMRule(eta)` keeps the prior's variance, see there.
        seed: of the noise; `set_timesteps` restarts it.
        prediction_type: what the network predicts: "epsilon", "sample" or "v_prediction".
        **schedule_args: the schedule's own arguments, such as `beta_start`.

    Raises:
        InputError: an unknown prediction type, or a rule with momentum.
    """

    def __init__(
        self,
        num_train_timesteps: int = 1000,
        schedule: str = "linear_beta",
        *,
        noise: SliceNoise | None = None,
        rule: Rule = ANCESTRAL,
        seed: int = 0,
        prediction_type: str = DDPMPredictionType.EPSILON,
        **schedule_args: Any,
    ) -> None:
        super().__init__(num_train_timesteps, schedule, **schedule_args)
        types = [str(member.value) for member in DDPMPredictionType]
        if prediction_type not in types:
            raise InputError(f"prediction_type: found {prediction_type!r}, expected one of {', '.join(types)}")
        if rule.momentum:
            raise InputError(
                f"rule: found a momentum of {rule.momentum}, expected none: MONAI's schedulers keep no state"
            )
        self.prediction_type = prediction_type
        self.noise = SlerpNoise() if noise is None else noise
        self.rule = rule
        self.seed = seed
        self._alphas_cumprod = self.alphas_cumprod.double()
        self.set_timesteps(num_train_timesteps)

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Choose the timesteps, evenly from the last of the training to 0, and restart the noise.

        Args:
            num_inference_steps: how many, 1 to `num_train_timesteps`. One step is the last of the training.
            device: of `timesteps`; `DiffusionInferer.sample` needs it on the CPU.

        Raises:
            InputError: another number of steps.
        """
        if not 1 <= num_inference_steps <= self.num_train_timesteps:
            raise InputError(
                f"num_inference_steps: found {num_inference_steps}, expected 1 to {self.num_train_timesteps}, the "
                "number of timesteps in training"
            )
        self.num_inference_steps = num_inference_steps
        last = self.num_train_timesteps - 1
        self.timesteps = torch.linspace(last, 0, num_inference_steps, dtype=torch.float64, device=device).round().long()
        self._following = dict(zip(self.timesteps.tolist(), self.timesteps.tolist()[1:], strict=False))
        self._bound: BoundNoise | None = None

    def start(self, like: Tensor) -> Tensor:
        """Draw the stack to start sampling from: slice noise shaped like `like` (S, C, H, W)."""
        return self._draw(real_tensor(like, "like"), self._sigma(int(self.timesteps[0])))

    def step(self, model_output: Tensor, timestep: int | Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
        """Go from a timestep to the next one of the list, from the last to the clean image.

        Args:
            model_output: the network's prediction for `sample`, (S, C, H, W).
            timestep: one of `timesteps`.
            sample: stack at that timestep, (S, C, H, W).

        Returns:
            The stack at the next timestep and the predicted clean stack.

        Raises:
            InputError: a timestep that is not in the list, or a complex stack.
        """
        model_output, sample = real_tensor(model_output, "model_output"), real_tensor(sample, "sample")
        timestep = int(timestep)
        if timestep not in self.timesteps:
            raise InputError(f"timestep: found {timestep}, expected one of those that set_timesteps chose")
        alpha = float(self._alphas_cumprod[timestep])
        signal, noise = alpha**0.5, (1 - alpha) ** 0.5
        if self.prediction_type == DDPMPredictionType.EPSILON:
            x0 = (sample - noise * model_output) / signal
        elif self.prediction_type == DDPMPredictionType.V_PREDICTION:
            x0 = signal * sample - noise * model_output
        else:
            x0 = model_output
        if timestep not in self._following:
            return x0, x0

        following = self._following[timestep]
        sigma, sigma_next = self._sigma(timestep), self._sigma(following)
        k = self.rule.share(sigma, sigma_next)
        eps_hat = (sample / signal - x0) / sigma
        x_next = renoise(x0, eps_hat, sigma_next, self._draw(sample, sigma_next, x0), k)
        return float(self._alphas_cumprod[following]) ** 0.5 * x_next, x0

    def _draw(self, like: Tensor, sigma: float, estimate: Tensor | None = None) -> Tensor:
        """Noise shaped like a stack (S, C, H, W), for an estimate of its slices."""
        slices, channels, height, width = like.shape
        if self._bound is None:
            grid = Grid.centered((height, width, slices), (1.0, 1.0, 1.0))
            generator = random_stream(self.seed, "noise")
            self._bound = self.noise.bind(grid, 2, generator, channels=channels, device=like.device, dtype=like.dtype)
        return self._bound.stack(sigma, estimate)

    def _sigma(self, timestep: int) -> float:
        alpha = float(self._alphas_cumprod[timestep])
        return ((1 - alpha) / alpha) ** 0.5
