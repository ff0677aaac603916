# SPDX-License-Identifier: Apache-2.0
"""NCSN++, the score network of the paper's priors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from monai_iscs.errors import InputError
from monai_iscs.priors.fir import FIRDownsample, FIRSmooth, FIRUpsample
from monai_iscs.priors.unet import ResidualUNet, SelfAttention, embedding_layers

# A sum of two independent maps of equal variance keeps it.
ROOT_HALF = 0.5**0.5
# The usual initial weights: nearly zero before a sum, small for queries, keys and values.
NEARLY_ZERO = 1e-10
ATTENTION_SCALE = 0.1

_RESAMPLE = {None: nn.Identity, "down": FIRDownsample, "up": FIRUpsample}


def _initialise(layer: nn.Module, *, scale: float = 1.0) -> nn.Module:
    """Uniform weights of variance ``2 scale / (fan in + fan out)``, zero bias."""
    nn.init.xavier_uniform_(layer.weight, gain=math.sqrt(scale))
    nn.init.zeros_(layer.bias)
    return layer


def _norm(channels: int) -> nn.GroupNorm:
    groups = min(channels // 4, 32)
    if groups < 1 or channels % groups:
        raise InputError(f"channels: found {channels}, expected a multiple of 4, and of 32 from 128 on")
    return nn.GroupNorm(groups, channels, eps=1e-6)


class FIRResidualBlock(nn.Module):
    """The residual block of BigGAN in NCSN++: resampled with a low-pass filter, sum divided by the square root of 2.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        resample: "down" halves the size, "up" doubles it, None keeps it.
        embedding_channels: width of sigma's embedding.
    """

    def __init__(self, in_channels: int, out_channels: int, resample: str | None, *, embedding_channels: int) -> None:
        super().__init__()
        self.norm1 = _norm(in_channels)
        self.conv1 = _initialise(nn.Conv2d(in_channels, out_channels, 3, padding=1))
        self.embedding = _initialise(nn.Linear(embedding_channels, out_channels))
        self.norm2 = _norm(out_channels)
        self.conv2 = _initialise(nn.Conv2d(out_channels, out_channels, 3, padding=1), scale=NEARLY_ZERO)
        same = in_channels == out_channels and resample is None
        self.shortcut = nn.Identity() if same else _initialise(nn.Conv2d(in_channels, out_channels, 1))
        self.resample = _RESAMPLE[resample]()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(self.resample(silu(self.norm1(x))))
        h = h + self.embedding(embedding)[:, :, None, None]
        h = self.conv2(silu(self.norm2(h)))
        return (self.shortcut(self.resample(x)) + h) * ROOT_HALF


class FIRConvolution(nn.Module):
    """A low-pass filter and a 3 x 3 convolution that halves the size."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.filter = FIRSmooth()
        self.conv = _initialise(nn.Conv2d(in_channels, out_channels, 3, stride=2))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.filter(x))


def _attention(channels: int) -> SelfAttention:
    attention = SelfAttention(_norm(channels), residual_scale=ROOT_HALF)
    for part in attention.qkv.weight.data.chunk(3):  # three layers in one
        nn.init.xavier_uniform_(part, gain=math.sqrt(ATTENTION_SCALE))
    nn.init.zeros_(attention.qkv.bias)
    _initialise(attention.out, scale=NEARLY_ZERO)
    return attention


class NCSNpp(ResidualUNet):
    """NCSN++ (Song et al. 2021, "Score-based generative modeling through stochastic differential equations").

    The configuration of the paper's priors, and of DiffusionMBIR's and TPDM's, which is the default: BigGAN blocks,
    resampling with the filter [1, 3, 3, 1], the input's pyramid added at every level ("residual"), one attention in the
    middle, and random Fourier features of sigma's logarithm. 61,433,473 trained numbers and 128 frozen
    frequencies.

    Args:
        channels: width of each level, the finest first; multiples of 4, and of 32 from 128 on.
        num_res_blocks: residual blocks per level.
        attention_levels: which levels have self-attention besides the middle.
        in_channels: channels of an image.
        fourier_scale: standard deviation of the frequencies.

    Shapes: ``forward(x, sigma)`` takes noisy slices ``(S, C, H, W)``, ``x = x0 + sigma * n`` with ``x0`` in [0, 1], and
    sigmas, one for all slices or ``(S,)``; it returns the score ``grad log p(x; sigma)``, shaped like ``x``. H and W
    are multiples of ``size_divisor``, 8 by default.

    Raises:
        InputError: settings that do not fit together, or slices of another size.
    """

    frequencies: Tensor

    def __init__(
        self,
        channels: Sequence[int] = (128, 256, 256, 256),
        *,
        num_res_blocks: int = 4,
        attention_levels: Sequence[bool] = (False, False, False, False),
        in_channels: int = 1,
        fourier_scale: float = 16.0,
    ) -> None:
        width = channels[0]
        super().__init__(
            channels,
            num_res_blocks=num_res_blocks,
            attention_levels=attention_levels,
            block=partial(FIRResidualBlock, embedding_channels=4 * width),
            attention=_attention,
            attention_after_level=True,
            shortcut=FIRConvolution,
            image_channels=in_channels,
        )
        self.register_buffer("frequencies", torch.randn(width) * fourier_scale)
        self.embedding = embedding_layers(2 * width, 4 * width)
        for layer in (self.embedding[0], self.embedding[2]):
            _initialise(layer)
        self.in_channels = in_channels
        self.conv_in = _initialise(nn.Conv2d(in_channels, width, 3, padding=1))
        self.norm_out = _norm(width)
        self.conv_out = _initialise(nn.Conv2d(width, in_channels, 3, padding=1), scale=NEARLY_ZERO)

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        self.check_size(x)
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(x.shape[0])
        phases = sigma.log()[:, None] * self.frequencies * (2 * math.pi)
        embedding = self.embedding(torch.cat([phases.sin(), phases.cos()], dim=1))
        image = 2 * x - 1
        h = self.features(image, self.conv_in(image), embedding)
        return self.conv_out(silu(self.norm_out(h))) / sigma.reshape(-1, 1, 1, 1)
