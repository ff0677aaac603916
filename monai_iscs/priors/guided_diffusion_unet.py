# SPDX-License-Identifier: Apache-2.0
"""The U-Net of guided diffusion, in the configurations of the DDS and DiffusionBlend priors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from monai_iscs.errors import InputError
from monai_iscs.priors.unet import ResidualUNet, SelfAttention, embedding_layers

GROUPS = 32
LONGEST_PERIOD = 10_000


def _norm(channels: int) -> nn.GroupNorm:
    if channels % GROUPS:
        raise InputError(f"channels: found {channels}, expected a multiple of {GROUPS}")
    return nn.GroupNorm(GROUPS, channels)


def _zeroed(layer: nn.Module) -> nn.Module:
    """The last layer before a sum: every block starts as the identity."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


_RESAMPLE = {
    None: nn.Identity,
    "down": partial(nn.AvgPool2d, 2),
    "up": partial(nn.Upsample, scale_factor=2, mode="nearest"),
}


class ModulatedResidualBlock(nn.Module):
    """A residual block whose second normalisation is scaled and shifted by the embedding.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        resample: "down" halves the size, "up" doubles it, None keeps it.
        embedding_channels: width of the timestep's embedding.
    """

    def __init__(self, in_channels: int, out_channels: int, resample: str | None, *, embedding_channels: int) -> None:
        super().__init__()
        self.norm1 = _norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.embedding = nn.Linear(embedding_channels, 2 * out_channels)
        self.norm2 = _norm(out_channels)
        self.conv2 = _zeroed(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)
        self.resample = _RESAMPLE[resample]()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(self.resample(silu(self.norm1(x))))
        scale, shift = self.embedding(embedding)[:, :, None, None].chunk(2, dim=1)
        h = self.conv2(silu(self.norm2(h) * (1 + scale) + shift))
        return self.shortcut(self.resample(x)) + h


def _attention(channels: int, *, num_head_channels: int) -> SelfAttention:
    if channels % num_head_channels:
        raise InputError(f"num_head_channels: found {num_head_channels}, expected a divisor of the {channels} channels")
    attention = SelfAttention(_norm(channels), num_heads=channels // num_head_channels)
    _zeroed(attention.out)
    return attention


class GuidedDiffusionUNet(ResidualUNet):
    """The U-Net of Dhariwal and Nichol 2021 ("Diffusion models beat GANs on image synthesis"), Table 4's "ADM".

    Its timestep scales and shifts the second normalisation of every block, which MONAI's ``DiffusionModelUNet`` cannot
    express. The default is the configuration that DDS published for body CT (``AAPM256_1M.pt``), without classes.

    Args:
        channels: width of each level, the finest first; multiples of 32.
        num_res_blocks: residual blocks per level.
        attention_levels: which levels have self-attention besides the middle.
        num_head_channels: channels of an attention head.
        in_channels: channels of an image.
        learn_sigma: whether the network also predicts a variance, which is not used: its first output is the noise.
        classes: number of labels that it can be told; 0: none.

    Shapes: ``forward(x, timesteps)`` takes noisy slices ``(S, C, H, W)`` and timesteps, one for all slices or ``(S,)``,
    whole or fractional, and with classes ``labels`` ``(S,)``; it returns the predicted noise of ``x``. H and W are
    multiples of ``size_divisor``, 32 by default.

    Raises:
        InputError: settings that do not fit together, or slices of another size.
    """

    frequencies: Tensor

    def __init__(
        self,
        channels: Sequence[int] = (256, 256, 512, 512, 1024, 1024),
        *,
        num_res_blocks: int = 1,
        attention_levels: Sequence[bool] = (False, False, False, False, True, False),
        num_head_channels: int = 64,
        in_channels: int = 1,
        learn_sigma: bool = True,
        classes: int = 0,
    ) -> None:
        width = channels[0]
        super().__init__(
            channels,
            num_res_blocks=num_res_blocks,
            attention_levels=attention_levels,
            block=partial(ModulatedResidualBlock, embedding_channels=4 * width),
            attention=partial(_attention, num_head_channels=num_head_channels),
        )
        frequencies = torch.exp(-math.log(LONGEST_PERIOD) * torch.arange(width // 2) / (width // 2))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.embedding = embedding_layers(width, 4 * width)
        self.label_embedding = nn.Embedding(classes, 4 * width) if classes else None
        self.conv_in = nn.Conv2d(in_channels, width, 3, padding=1)
        self.norm_out = _norm(width)
        self.conv_out = _zeroed(nn.Conv2d(width, (1 + learn_sigma) * in_channels, 3, padding=1))
        self.in_channels = in_channels

    def forward(self, x: Tensor, timesteps: float | Tensor, labels: Tensor | None = None) -> Tensor:
        self.check_size(x)
        timesteps = torch.as_tensor(timesteps, dtype=x.dtype, device=x.device).expand(x.shape[0])
        phases = timesteps[:, None] * self.frequencies
        embedding = self.embedding(torch.cat([phases.cos(), phases.sin()], dim=1))
        if self.label_embedding is not None:
            embedding = embedding + self.label_embedding(labels)
        h = self.features(x, self.conv_in(x), embedding)
        return self.conv_out(silu(self.norm_out(h)))[:, : self.in_channels]
