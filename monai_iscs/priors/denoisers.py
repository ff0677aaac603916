# SPDX-License-Identifier: Apache-2.0
"""Wrappers that turn a trained network into a denoiser: ``denoiser(x, sigma) -> E[x0 | x]``.

Every denoiser works in sigma space, ``x = x0 + sigma * n`` with ``n ~ N(0, 1)``, on stacks of slices ``(S, C, H, W)``.
The sampling loop needs to know nothing else about a prior.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import InputError

StackDenoiser = Callable[[Tensor, float], Tensor]  # what the loop calls: a stack (S, C, H, W) and its sigma


class Denoiser(nn.Module, ABC):
    """The contract of a prior: the posterior mean of a clean slice, given the noisy one.

    Attributes:
        size_divisor: in-plane sizes must be multiples of it.
        in_channels: channels of the slices, or None if the network doesn't say.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.size_divisor = int(getattr(network, "size_divisor", 1))
        self.in_channels: int | None = getattr(network, "in_channels", None)

    @abstractmethod
    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """Posterior mean ``E[x0 | x]``.

        Args:
            x: noisy slices ``(S, C, H, W)``, ``x = x0 + sigma * n``, real.
            sigma: one for all slices, or one for each slice ``(S,)``.

        Returns:
            The denoised slices, shaped like ``x``; float64 for float64, else float32.

        Raises:
            InputError: complex slices, or another number of sigmas.
        """


def _per_slice(sigma: float | Tensor, x: Tensor) -> Tensor:
    """Sigmas as ``(S, 1, 1, 1)``, so that they broadcast over a stack."""
    # a number is written on the device: nothing waits for a copy
    sigma = sigma.to(x).reshape(-1) if isinstance(sigma, Tensor) else x.new_full((1,), sigma)
    if sigma.numel() not in (1, x.shape[0]):
        raise InputError(f"sigma: found {sigma.numel()} numbers, expected one, or one for each of {x.shape[0]} slices")
    return sigma.expand(x.shape[0]).reshape(-1, 1, 1, 1)


class EDMDenoiser(Denoiser):
    """A preconditioned network (Karras et al. 2022, "Elucidating the design space", Eq. 7 and Table 1).

    ``D(x, sigma) = c_skip x + c_out F(c_in x, c_noise)`` with ``c_skip = sd^2 / (sigma^2 + sd^2)``,
    ``c_out = sigma sd / sqrt(sigma^2 + sd^2)``, ``c_in = 1 / sqrt(sigma^2 + sd^2)``. The network's
    input and target both have about unit variance at every sigma. ``c_noise = 100 ln(sigma)`` spreads sigmas over the
    range of MONAI's sinusoidal embedding.

    Args:
        network: ``network(x, timesteps=t) -> tensor like x``, such as MONAI's ``DiffusionModelUNet``.
        sigma_data: root mean square of the clean slices, in the prior's units.
    """

    def __init__(self, network: nn.Module, *, sigma_data: float) -> None:
        super().__init__(network)
        if not sigma_data > 0:
            raise InputError(f"sigma_data: found {sigma_data}, expected a positive number")
        self.sigma_data = float(sigma_data)

    def _scales(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        total = sigma**2 + self.sigma_data**2
        return self.sigma_data**2 / total, sigma * self.sigma_data / total.sqrt(), total.rsqrt()

    def network_inputs(self, x: Tensor, sigma: float | Tensor) -> tuple[Tensor, Tensor]:
        """The network's inputs: ``c_in x`` and ``c_noise``."""
        sigma = _per_slice(sigma, x)
        return self._scales(sigma)[2] * x, 100 * sigma.flatten().log()

    def network_target(self, x: Tensor, x0: Tensor, sigma: float | Tensor) -> Tensor:
        """The network's target: ``(x0 - c_skip x) / c_out``.

        The plain mean squared error to it is EDM's weighted loss (its Eq. 8 with ``lambda = 1 / c_out^2``).
        """
        c_skip, c_out, _ = self._scales(_per_slice(sigma, x))
        return (x0 - c_skip * self.noisy(x)) / c_out

    def noisy(self, x: Tensor) -> Tensor:
        """The noisy images among the channels of `x`: all."""
        return x

    def around(self, network: nn.Module) -> EDMDenoiser:
        """The same preconditioning around another network of the same kind."""
        return EDMDenoiser(network, sigma_data=self.sigma_data)

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        x = real_tensor(x, "x")
        c_skip, c_out, _ = self._scales(_per_slice(sigma, x))
        inputs, timesteps = self.network_inputs(x, sigma)
        return c_skip * self.noisy(x) + c_out * self.network(inputs, timesteps=timesteps)


class ConditionedDenoiser(EDMDenoiser):
    """An `EDMDenoiser` that is also shown what is known about its images: `E[x0 | x, condition]`.

    Its stacks are (S, C + K, H, W): C noisy images, and after them K channels of condition, which have no noise of
    sigma and reach the network as they are. It returns the C images.

    Args:
        network: as of `EDMDenoiser`; it takes C + K channels and returns C.
        sigma_data: root mean square of the clean images.
        conditions: K, at least 1.

    Raises:
        InputError: no condition.
    """

    def __init__(self, network: nn.Module, *, sigma_data: float, conditions: int) -> None:
        super().__init__(network, sigma_data=sigma_data)
        if conditions < 1:
            raise InputError(f"conditions: found {conditions}, expected at least 1 channel")
        self.conditions = conditions

    def noisy(self, x: Tensor) -> Tensor:
        return x[:, : -self.conditions]

    def around(self, network: nn.Module) -> ConditionedDenoiser:
        return ConditionedDenoiser(network, sigma_data=self.sigma_data, conditions=self.conditions)

    def network_inputs(self, x: Tensor, sigma: float | Tensor) -> tuple[Tensor, Tensor]:
        inputs, timesteps = super().network_inputs(x[:, : -self.conditions], sigma)
        return torch.cat([inputs, x[:, -self.conditions :]], dim=1), timesteps


class NeighbourDenoiser(ConditionedDenoiser):
    """A `ConditionedDenoiser` of slices that sees their neighbours, which have noise of the same sigma.

    Its stacks are (S, 3 C + K, H, W): noisy slices, those before them, those after them, and K channels of condition.
    It returns the slices, (S, C, H, W).

    Args:
        network: as of `EDMDenoiser`; it takes 3 C + K channels and returns C.
        sigma_data, conditions: as of `ConditionedDenoiser`.
    """

    def noisy(self, x: Tensor) -> Tensor:
        return x[:, : (x.shape[1] - self.conditions) // 3]

    def around(self, network: nn.Module) -> NeighbourDenoiser:
        return NeighbourDenoiser(network, sigma_data=self.sigma_data, conditions=self.conditions)


class EpsilonDenoiser(Denoiser):
    """A variance-preserving network that predicts the noise, in sigma space.

    Such a network is trained on ``x_vp = sqrt(a) x0 + sqrt(1 - a) n`` with ``a = alphas_cumprod[t]`` (the paper's Eq. 2
    and 3), for example with MONAI's ``DDPMScheduler``, ``DiffusionPrepareBatch`` and ``DiffusionInferer``. It is the
    same model with ``x = x_vp / sqrt(a)`` and ``sigma = sqrt((1 - a) / a)``, so
    ``D(x, sigma) = x - sigma * network(x / sqrt(1 + sigma^2), t)``, at the timestep ``t`` interpolated linearly in
    ``ln(sigma)``.

    Args:
        network: ``network(x_vp, timesteps=t) -> predicted noise``.
        alphas_cumprod: the training schedule ``(T,)``, such as ``scheduler.alphas_cumprod``.
        offset: the training's value range is mapped to the prior's by ``x0 = (x_train - offset) / scale``.
        scale: see ``offset``; a network trained on ``[-1, 1]`` has offset -1 and scale 2 for a prior on ``[0, 1]``.

    A sigma outside the schedule is replaced by its nearest end.
    """

    log_sigmas: Tensor

    def __init__(self, network: nn.Module, *, alphas_cumprod: Tensor, offset: float = 0.0, scale: float = 1.0) -> None:
        super().__init__(network)
        alphas = torch.as_tensor(alphas_cumprod).detach().double().cpu()
        if alphas.ndim != 1 or not bool(((alphas > 0) & (alphas < 1)).all()) or not bool((alphas.diff() < 0).all()):
            raise InputError(
                f"alphas_cumprod: found shape {tuple(alphas.shape)} and values from {float(alphas.min()):g} to "
                f"{float(alphas.max()):g}, expected a decreasing sequence of numbers between 0 and 1"
            )
        self.register_buffer("log_sigmas", ((1 - alphas) / alphas).sqrt().log().float(), persistent=False)
        self.offset, self.scale = float(offset), float(scale)

    def timestep(self, sigma: Tensor) -> Tensor:
        """The (fractional) timestep of ``sigma``."""
        log_sigma = sigma.log().clamp(self.log_sigmas[0], self.log_sigmas[-1])
        upper = torch.searchsorted(self.log_sigmas, log_sigma).clamp(1, len(self.log_sigmas) - 1)
        low, high = self.log_sigmas[upper - 1], self.log_sigmas[upper]
        return upper - 1 + (log_sigma - low) / (high - low)

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        return self._estimate(real_tensor(x, "x"), sigma)

    def _estimate(self, x: Tensor, sigma: float | Tensor, **conditions: Tensor) -> Tensor:
        """The posterior mean from noisy images, by the network with these conditions."""
        sigma = _per_slice(sigma, x) * self.scale
        x = x * self.scale + self.offset
        noise = self.network(x / (1 + sigma**2).sqrt(), timesteps=self.timestep(sigma.flatten()), **conditions)
        return (x - sigma * noise - self.offset) / self.scale


class LabelledDenoiser(EpsilonDenoiser):
    """An `EpsilonDenoiser` of several slices at a time that is told by a label how far apart they are.

    For the prior `Triplets` with a network as DiffusionBlend++ publishes it. Its stacks are (S, K + 1, H, W): the
    channels of the slices, and after them the natural logarithm of their distance in mm; it returns the slices.

    Args:
        network: ``network(x_vp, timesteps=t, labels=l) -> predicted noise`` of K channels.
        alphas_cumprod, offset, scale: as of `EpsilonDenoiser`.
        labels: each label's distance in mm in the training; slices at other distances get the nearest one's, by the
            ratio of the distances.
    """

    def __init__(self, network: nn.Module, *, labels: Mapping[int, float], **settings: Any) -> None:
        super().__init__(network, **settings)
        self.labels = {int(label): float(distance) for label, distance in labels.items()}
        self.in_channels = None if self.in_channels is None else self.in_channels + 1

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        x = real_tensor(x, "x")
        names, known = (torch.tensor(list(part), device=x.device) for part in (self.labels, self.labels.values()))
        nearest = (x[:, -1, 0, 0, None] - known.log()).abs().argmin(1)
        return self._estimate(x[:, :-1], sigma, labels=names[nearest])


class ScoreDenoiser(Denoiser):
    """A variance-exploding network that predicts the score, such as `NCSNpp`.

    Tweedie's formula, ``D(x, sigma) = x + sigma^2 grad log p(x; sigma)``.

    Args:
        network: ``network(x, sigma) -> score of x``, for sigmas ``(S,)``.
        sigma_min: lowest sigma that the network was trained on.
        sigma_max: highest; both defaults are those of the published priors.

    For a sigma outside these the network gets the nearest end; the noise that it then predicts is scaled to sigma.
    """

    def __init__(self, network: nn.Module, *, sigma_min: float = 0.01, sigma_max: float = 378.0) -> None:
        super().__init__(network)
        if not 0 < sigma_min < sigma_max:
            raise InputError(f"sigma_min, sigma_max: found {sigma_min}, {sigma_max}, expected 0 < minimum < maximum")
        self.sigma_min, self.sigma_max = float(sigma_min), float(sigma_max)

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        x = real_tensor(x, "x")
        sigma = _per_slice(sigma, x)
        known = sigma.clamp(self.sigma_min, self.sigma_max)
        return x + sigma * known * self.network(x, known.flatten())


def linear_alphas_cumprod(steps: int = 1000, *, beta_start: float = 1e-4, beta_end: float = 0.02) -> Tensor:
    """DDPM's schedule (Ho et al. 2020) for `EpsilonDenoiser`: products of ``1 - beta_t``, ``beta_t`` linear in ``t``.

    Args:
        steps: T.
        beta_start: ``beta`` at the first timestep.
        beta_end: ``beta`` at the last.

    Returns:
        The products ``(T,)``, in double precision.
    """
    return (1 - torch.linspace(beta_start, beta_end, steps, dtype=torch.float64)).cumprod(0)
