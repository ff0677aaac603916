# SPDX-License-Identifier: Apache-2.0
"""From volumes to stacks of slices and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from monai_iscs.errors import InputError
from monai_iscs.operators import LinearOperator


@dataclass(frozen=True)
class StackLayout:
    """How a volume (C, X, Y, Z) becomes the stack (S, C, H, W) that the sampler works on.

    The slices are perpendicular to `slice_axis`; H and W are the other two axes in their order, padded with zeros (air)
    on both sides up to multiples of `size_divisor`. The padding belongs to the stack, not to the prior's call: the
    prior then sees air with noise on it, as in training, and the scanner never sees it.

    Args:
        volume_shape: (X, Y, Z) in voxels.
        slice_axis: 0, 1 or 2.
        size_divisor: what H and W must be multiples of.

    Raises:
        InputError: an axis other than 0, 1, 2.
    """

    volume_shape: tuple[int, ...]
    slice_axis: int = 2
    size_divisor: int = 1

    def __post_init__(self) -> None:
        if self.slice_axis not in (0, 1, 2):
            raise InputError(f"slice_axis is {self.slice_axis!r}, expected 0, 1 or 2")

    @property
    def slices(self) -> int:
        """S, the number of slices."""
        return self.volume_shape[self.slice_axis]

    @property
    def in_plane_shape(self) -> tuple[int, int]:
        """(H, W) with the padding."""
        height, width = (size + before + after for size, (before, after) in self._in_plane())
        return height, width

    def stack(self, volume: Tensor) -> Tensor:
        """Turn (C, X, Y, Z) into (S, C, H, W)."""
        (_, top_bottom), (_, left_right) = self._in_plane()
        stack = volume.movedim(self.slice_axis + 1, 0)
        padding = (*left_right, *top_bottom)
        return (pad(stack, padding) if any(padding) else stack).contiguous()

    def volume(self, stack: Tensor) -> Tensor:
        """Turn (S, C, H, W) into (C, X, Y, Z), the adjoint and left inverse of `stack`."""
        (height, (top, _)), (width, (left, _)) = self._in_plane()
        return stack[..., top : top + height, left : left + width].movedim(0, self.slice_axis + 1).contiguous()

    def _in_plane(self) -> list[tuple[int, tuple[int, int]]]:
        sizes = [size for axis, size in enumerate(self.volume_shape) if axis != self.slice_axis]
        missing = [-size % self.size_divisor for size in sizes]
        return [(size, (extra // 2, extra - extra // 2)) for size, extra in zip(sizes, missing, strict=True)]


class StackedOperator(LinearOperator):
    """A scanner of volumes (X, Y, Z) as the sampler sees it: from a stack (S, C, H, W) to (C, *range_shape).

    Channels are scanned one by one, the layout's padding is not scanned: A⁺ leaves it at zero. Matched if the scanner
    is; it has no `rows`, since its first axis is the channels'.

    Args:
        operator: the scanner on (X, Y, Z).
        layout: how its volume is stacked.
        channels: C.
    """

    def __init__(self, operator: LinearOperator, layout: StackLayout, *, channels: int = 1) -> None:
        self.operator, self.layout = operator, layout
        self.domain_shape = (layout.slices, channels, *layout.in_plane_shape)
        self.range_shape = (channels, *operator.range_shape)
        self.matched, self.images = operator.matched, operator.images
        if operator.resolution is not None:
            in_plane = [step for axis, step in enumerate(operator.resolution) if axis != layout.slice_axis]
            self.resolution = (operator.resolution[layout.slice_axis], 1.0, *in_plane)

    @property
    def pseudo_inverse(self) -> LinearOperator | None:
        inverse = self.operator.pseudo_inverse
        # stacking is the adjoint of unstacking
        return None if inverse is None else StackedOperator(inverse.T, self.layout, channels=self.range_shape[0]).T

    @property
    def name(self) -> str:
        return self.operator.name

    def forward(self, x: Tensor) -> Tensor:
        return _each(lambda stack: self.operator(self.layout.volume(stack)), x)

    def adjoint(self, y: Tensor) -> Tensor:
        return _each(lambda measurement: self.layout.stack(self.operator.T(measurement)), y)

    def gram(self, x: Tensor) -> Tensor:
        return _each(lambda stack: self.layout.stack(self.operator.normal(self.layout.volume(stack))), x)


def _each(function: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    """A function of every item; without a copy where there is one item only."""
    results = [function(item) for item in batch]
    return results[0][None] if len(results) == 1 else torch.stack(results)
