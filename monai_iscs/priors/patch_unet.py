# SPDX-License-Identifier: Apache-2.0
"""MONAI's diffusion U-Net on patches of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai.networks.nets import DiffusionModelUNet
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle


class PatchUNet(DiffusionModelUNet):
    """MONAI's ``DiffusionModelUNet`` whose finest level sees ``patch_size x patch_size`` pixels as channels.

    A lossless rearrangement (pixel unshuffle) takes the place of the finest, most expensive and narrowest level: at
    equal cost the network is ``patch_size`` times as wide. With ``patch_size=1`` it is MONAI's network itself.

    Args:
        patch_size: side of the patch in pixels.
        in_channels: image channels, in and out.
        channels: feature channels of each level.
        **unet: everything else that ``DiffusionModelUNet`` takes.

    Shapes: ``forward(x, timesteps)`` takes and gives ``(S, C, H, W)``; ``H`` and ``W`` must be multiples of
    ``size_divisor``.
    """

    def __init__(self, *, patch_size: int = 2, in_channels: int = 1, channels: Sequence[int], **unet: Any) -> None:
        patched = in_channels * patch_size**2
        super().__init__(spatial_dims=2, in_channels=patched, out_channels=patched, channels=channels, **unet)
        self.patch_size = patch_size
        self.size_divisor = patch_size * 2 ** (len(channels) - 1)

    def forward(self, x: Tensor, timesteps: Tensor, **conditions: Any) -> Tensor:
        """Runs the network; ``conditions`` are those of ``DiffusionModelUNet.forward``."""
        return pixel_shuffle(
            super().forward(pixel_unshuffle(x, self.patch_size), timesteps, **conditions), self.patch_size
        )
