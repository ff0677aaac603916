# SPDX-License-Identifier: Apache-2.0
"""Denoising score matching with MONAI: sigmas, batches and the validation's metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from monai.engines import PrepareBatch
from monai.handlers import PeakSignalToNoiseRatio as PSNRHandler
from monai.utils import convert_to_tensor
from torch import Generator, Tensor

from monai_iscs.errors import expect
from monai_iscs.priors import Denoiser, EDMDenoiser


class NoiseLevels:
    """Random continuous sigmas: mostly log-uniform over ``core``, else over the whole ``span``.

    The steps of a reconstruction are in the core; the rest keeps every recipe inside the training range.

    Args:
        span: lowest and highest sigma.
        core: the most important range.
        core_fraction: share of the draws from the core.

    Raises:
        InputError: a core outside the span, an empty core or a share outside [0, 1].
    """

    def __init__(
        self,
        *,
        span: tuple[float, float] = (0.005, 400.0),
        core: tuple[float, float] = (0.01, 5.0),
        core_fraction: float = 0.9,
    ) -> None:
        expect(0 < span[0] <= core[0] < core[1] <= span[1], "core", core, f"a range inside the positive span {span}")
        expect(0 <= core_fraction <= 1, "core_fraction", core_fraction, "0 to 1")
        self.span, self.core, self.core_fraction = tuple(span), tuple(core), core_fraction

    def __call__(self, count: int, *, generator: Generator | None = None) -> Tensor:
        """Draws ``count`` sigmas, shape ``(count,)``."""
        where, position = torch.rand(2, count, generator=generator)
        (low, high), (core_low, core_high) = torch.tensor([self.span, self.core]).log()
        in_core = core_low + position * (core_high - core_low)
        anywhere = low + position * (high - low)
        return torch.where(where < self.core_fraction, in_core, anywhere).exp()


class TrainingBatch(PrepareBatch):
    """Noisy slices and the network's target, for MONAI's ``SupervisedTrainer``, its default inferer and an MSE loss.

    Args:
        denoiser: the preconditioning whose ``network`` is trained.
        noise_levels: draws the sigma of each slice.
        key: entry of the batch with clean slices ``(B, C, H, W)`` in the prior's units.
        seed: of the sigmas, on any device, and of the noise, which a GPU draws itself.

    The entry ``condition``, if the batch has one, is what a `ConditionedDenoiser` is shown besides, see `shown`; the
    entry ``neighbours`` is what a `NeighbourDenoiser` is, see `with_neighbours`.
    """

    def __init__(self, denoiser: EDMDenoiser, *, noise_levels: NoiseLevels, key: str = "image", seed: int = 0) -> None:
        self.denoiser, self.noise_levels, self.key = denoiser, noise_levels, key
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        """Restarts the random numbers with this seed."""
        self._generator = Generator().manual_seed(seed)
        self._device_generator: Generator | None = None

    def __call__(
        self, batchdata: dict, device: Any = None, non_blocking: bool = False, **kwargs: Any
    ) -> tuple[Tensor, Tensor, tuple[Tensor], dict]:
        clean = convert_to_tensor(batchdata[self.key], track_meta=False)
        clean = clean.to(device, torch.float32, non_blocking=non_blocking)
        sigma = self.noise_levels(len(clean), generator=self._generator).to(device, non_blocking=non_blocking)
        images = with_neighbours(clean, batchdata)
        noise = torch.randn(images.shape, generator=self._noise_generator(clean.device), device=clean.device)
        noisy = shown(images + sigma[:, None, None, None] * noise, batchdata)
        inputs, timesteps = self.denoiser.network_inputs(noisy, sigma)
        return inputs, self.denoiser.network_target(noisy, clean, sigma), (timesteps,), {}

    def _noise_generator(self, device: torch.device) -> Generator:
        """A generator on the device itself: otherwise a GPU would wait for the noise at every step."""
        if self._device_generator is None or self._device_generator.device != device:
            seed = int(torch.randint(2**31, (), generator=self._generator))
            self._device_generator = Generator(device).manual_seed(seed)
        return self._device_generator


def with_neighbours(clean: Tensor, batchdata: dict, *, repeats: int = 1) -> Tensor:
    """Clean slices (B, C, H, W) and, after their channels, the batch's ``neighbours`` (B / repeats, 2 C, H, W), if any.

    Args:
        clean: the slices.
        batchdata: with their neighbours, which get noise like the slices.
        repeats: how many of each of the batch's slices follow each other.
    """
    if "neighbours" not in batchdata:
        return clean
    neighbours = convert_to_tensor(batchdata["neighbours"], track_meta=False).to(clean)
    return torch.cat([clean, neighbours.repeat_interleave(repeats, dim=0)], dim=1)


def shown(noisy: Tensor, batchdata: dict, *, repeats: int = 1) -> Tensor:
    """What a denoiser gets: noisy slices (B, C, H, W), and after their channels the batch's ``condition``, if there.

    Args:
        noisy: the slices.
        batchdata: its condition is (B / repeats, K): K numbers for each image, each of which becomes a channel; or
            (B / repeats, K, H, W).
        repeats: how many noisy images of each of the batch's slices follow each other.
    """
    if "condition" not in batchdata:
        return noisy
    condition = convert_to_tensor(batchdata["condition"], track_meta=False).to(noisy)
    condition = condition.repeat_interleave(repeats, dim=0)
    planes = condition if condition.ndim == noisy.ndim else condition[..., None, None]
    return torch.cat([noisy, planes.expand(*planes.shape[:2], *noisy.shape[-2:])], dim=1)


class ValidationBatch(PrepareBatch):
    """Every slice of a batch at every one of fixed sigmas, with the same noise at each call.

    Args:
        sigmas: fixed ones; the results of one slice follow each other.
        key: entry of the batch with clean slices.
        seed: of the noise; it is the same for each batch, so that epochs and networks compare.
    """

    def __init__(self, sigmas: Sequence[float], *, key: str = "image", seed: int = 0) -> None:
        self.sigmas, self.key, self.seed = tuple(sigmas), key, seed

    def __call__(
        self, batchdata: dict, device: Any = None, non_blocking: bool = False, **kwargs: Any
    ) -> tuple[Tensor, Tensor, tuple[Tensor], dict]:
        clean = (
            convert_to_tensor(batchdata[self.key], track_meta=False).float().repeat_interleave(len(self.sigmas), dim=0)
        )
        sigma = torch.tensor(self.sigmas).repeat(len(clean) // len(self.sigmas))
        images = with_neighbours(clean, batchdata, repeats=len(self.sigmas))
        noise = torch.randn(images.shape, generator=Generator().manual_seed(self.seed))
        noisy = shown(images + sigma[:, None, None, None] * noise, batchdata, repeats=len(self.sigmas))
        return noisy.to(device), clean.to(device), (sigma.to(device),), {}


def denoising_psnr(sigmas: Sequence[float]) -> dict[str, PSNRHandler]:
    """One PSNR metric (data range 1) for each sigma of a :class:`ValidationBatch`, for a MONAI evaluator."""

    def at(level: int) -> Any:
        return lambda output: (output["pred"][level :: len(sigmas)], output["label"][level :: len(sigmas)])

    return {f"psnr_sigma_{sigma:g}": PSNRHandler(max_val=1.0, output_transform=at(i)) for i, sigma in enumerate(sigmas)}


def mean_psnr() -> PSNRHandler:
    """PSNR (data range 1) over all sigmas: the validation's key metric."""
    return PSNRHandler(max_val=1.0, output_transform=lambda output: (output["pred"], output["label"]))


@torch.inference_mode()
def psnr_at(denoiser: Denoiser, clean: Tensor, sigma: float, *, seed: int = 0, batch: int = 8) -> float:
    """Mean denoising PSNR (data range 1) of slices at one sigma, in decibels.

    Args:
        denoiser: the prior, or anything called like one.
        clean: clean slices ``(S, C, H, W)`` in the prior's units.
        sigma: of the noise.
        seed: of the noise.
        batch: slices at a time.
    """
    noisy = clean + sigma * torch.randn(clean.shape, generator=Generator().manual_seed(seed))
    denoised = torch.cat([denoiser(part, sigma) for part in noisy.split(batch)])
    mse = (denoised - clean).square().flatten(1).mean(1)
    return float((-10 / math.log(10)) * mse.log().mean())
