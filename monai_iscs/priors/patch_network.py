# SPDX-License-Identifier: Apache-2.0
"""A network on patches of pixels."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from monai_iscs.errors import InputError


class PatchNetwork(nn.Module):
    """A network whose finest level sees ``patch_size x patch_size`` pixels as channels.

    A lossless rearrangement (pixel unshuffle) replaces the finest, most expensive and narrowest level: at equal cost
    the network can be ``patch_size`` times as wide.

    Args:
        network: ``network(x, ...) -> tensor like x`` on ``patch_size ** 2`` times the image's channels, such as MONAI's
            ``DiffusionModelUNet``.
        patch_size: side of the patch in pixels.
        size_divisor: ``H`` and ``W`` in pixels must be multiples of it: the patch size times the network's own divisor,
            which is ``2 ** (levels - 1)`` for a U-Net. Default: the patch size.

    Shapes: ``forward(x, ...)`` takes and returns ``(S, C, H, W)``.

    Raises:
        InputError: a patch size below 1, or a divisor that is not a multiple of it.
    """

    def __init__(self, network: nn.Module, *, patch_size: int = 2, size_divisor: int | None = None) -> None:
        super().__init__()
        if patch_size < 1:
            raise InputError(f"patch_size: found {patch_size}, expected at least 1")
        size_divisor = patch_size if size_divisor is None else size_divisor
        if size_divisor < 1 or size_divisor % patch_size:
            raise InputError(f"size_divisor: found {size_divisor}, expected a multiple of the patch size {patch_size}")
        self.network, self.patch_size, self.size_divisor = network, patch_size, size_divisor
        channels = getattr(network, "in_channels", None)
        self.in_channels = None if channels is None else channels // patch_size**2

    def forward(self, x: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
        """Runs the network, which gets all other arguments."""
        return pixel_shuffle(self.network(pixel_unshuffle(x, self.patch_size), *arguments, **keywords), self.patch_size)
