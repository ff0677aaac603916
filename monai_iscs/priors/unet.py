# SPDX-License-Identifier: Apache-2.0
"""Common parts of the U-Nets of published diffusion priors: levels of residual blocks, and self-attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from monai_iscs.errors import InputError

# block(channels in, channels out, None | "down" | "up"), called as block(x, embedding)
MakeBlock = Callable[[int, int, str | None], nn.Module]


class SelfAttention(nn.Module):
    """Self-attention over the pixels of a feature map, added to the map.

    Args:
        norm: of the attention's input, over the map's channels.
        num_heads: heads into which the channels are split.
        residual_scale: factor of the sum at the end.
    """

    def __init__(self, norm: nn.GroupNorm, *, num_heads: int = 1, residual_scale: float = 1.0) -> None:
        super().__init__()
        channels = norm.num_channels
        if channels % num_heads:
            raise InputError(f"num_heads: found {num_heads}, expected a divisor of the {channels} channels")
        self.num_heads, self.residual_scale = num_heads, residual_scale
        self.norm = norm
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(S, C, H, W) to the same."""
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        # each head holds its query, key and value side by side
        heads = self.qkv(tokens).unflatten(-1, (self.num_heads, 3, -1)).permute(3, 0, 2, 1, 4)
        mixed = scaled_dot_product_attention(*heads.unbind(0))
        answer = self.out(mixed.transpose(1, 2).flatten(2)).transpose(1, 2)
        return (x + answer.unflatten(2, x.shape[2:])) * self.residual_scale


class Stage(nn.Module):
    """A residual block and optional self-attention after it."""

    def __init__(self, block: nn.Module, attention: nn.Module | None = None) -> None:
        super().__init__()
        self.block, self.attention = block, attention

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.block(x, embedding)
        return x if self.attention is None else self.attention(x)


class Level(nn.Module):
    """The stages at one resolution, and the block to the next resolution.

    Attributes:
        stages: residual blocks with or without attention.
        resample: residual block that halves or doubles the size; None at the end.
        shortcut: a path around the whole level on the way down, or None.
    """

    def __init__(self, stages: Sequence[Stage], resample: nn.Module | None, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.stages, self.resample, self.shortcut = nn.ModuleList(stages), resample, shortcut


class ResidualUNet(nn.Module):
    """Levels down, a middle with self-attention, and levels up that also get every feature map of the way down.

    The arguments decide which levels have attention, not the size of an input.

    Args:
        channels: width of each level, the finest first.
        num_res_blocks: residual blocks of each level on the way down; one more on the way up.
        attention_levels: which levels have self-attention.
        block: makes a residual block.
        attention: makes the self-attention over a number of channels.
        attention_after_level: on the way up, attention comes once after a level's blocks instead of after each.
        shortcut: makes the path around a level on the way down, from the channels of its input to those of its output;
            the finest level's input is the image. Its output and the level's are averaged, keeping the variance.
        image_channels: channels of the image, if there is a shortcut.

    Attributes:
        size_divisor: H and W of an image must be multiples of it.

    Raises:
        InputError: settings that do not fit together.
    """

    def __init__(
        self,
        channels: Sequence[int],
        *,
        num_res_blocks: int,
        attention_levels: Sequence[bool],
        block: MakeBlock,
        attention: Callable[[int], nn.Module],
        attention_after_level: bool = False,
        shortcut: Callable[[int, int], nn.Module] | None = None,
        image_channels: int = 1,
    ) -> None:
        super().__init__()
        if not channels or len(attention_levels) != len(channels):
            raise InputError(
                f"attention_levels: found {len(attention_levels)} entries, expected one for each of the "
                f"{len(channels)} levels of channels"
            )
        if num_res_blocks < 1:
            raise InputError(f"num_res_blocks: found {num_res_blocks}, expected at least 1")
        self.size_divisor = 2 ** (len(channels) - 1)
        levels, last = list(zip(channels, attention_levels, strict=True)), len(channels) - 1
        width, entry = channels[0], image_channels
        skips = [width]
        down = []
        for index, (out, attentive) in enumerate(levels):
            stages = []
            for _ in range(num_res_blocks):
                stages.append(Stage(block(width, out, None), attention(out) if attentive else None))
                width = out
            skips += num_res_blocks * [width]
            if index == last:
                down.append(Level(stages, None))
                break
            down.append(Level(stages, block(width, width, "down"), shortcut and shortcut(entry, width)))
            skips.append(width)
            entry = width
        self.down = nn.ModuleList(down)
        self.mid = nn.ModuleList([Stage(block(width, width, None), attention(width)), Stage(block(width, width, None))])
        up = []
        for index, (out, attentive) in reversed(list(enumerate(levels))):
            stages = []
            for number in range(num_res_blocks + 1):
                here = attentive and (number == num_res_blocks or not attention_after_level)
                stages.append(Stage(block(width + skips.pop(), out, None), attention(out) if here else None))
                width = out
            up.append(Level(stages, block(width, width, "up") if index else None))
        self.up = nn.ModuleList(up)

    def features(self, image: Tensor, x: Tensor, embedding: Tensor) -> Tensor:
        """The feature map before the last layers.

        Args:
            image: the network's input, (S, image channels, H, W).
            x: its first feature map, (S, channels[0], H, W).
            embedding: of sigma, for the blocks.
        """
        entry, skips = image, [x]
        for level in self.down:
            for stage in level.stages:
                x = stage(x, embedding)
                skips.append(x)
            if level.resample is not None:
                x = level.resample(x, embedding)
                if level.shortcut is not None:
                    x = entry = (level.shortcut(entry) + x) * 0.5**0.5
                skips.append(x)
        for stage in self.mid:
            x = stage(x, embedding)
        for level in self.up:
            for stage in level.stages:
                x = stage(torch.cat([x, skips.pop()], dim=1), embedding)
            if level.resample is not None:
                x = level.resample(x, embedding)
        return x

    def check_size(self, x: Tensor) -> None:
        """Refuses images that the levels cannot halve.

        Raises:
            InputError: H or W is not a multiple of `size_divisor`.
        """
        if x.shape[-2] % self.size_divisor or x.shape[-1] % self.size_divisor:
            raise InputError(
                f"slices: found {x.shape[-2]} x {x.shape[-1]} pixels, expected multiples of {self.size_divisor}"
            )


def embedding_layers(features: int, width: int) -> nn.Sequential:
    """From features of sigma (S, features) to the embedding (S, width) for all blocks."""
    return nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
