# SPDX-License-Identifier: Apache-2.0
"""The noise of some slices of a longer stack."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from monai_iscs.errors import InputError, expect
from monai_iscs.sampling.noise import Canvas, SliceNoise


@dataclass(frozen=True)
class Window(SliceNoise):
    """What another noise draws for a whole stack, of which a volume has some slices in a row.

    Volumes that share slices of the stack share their noise, bit by bit, and every slice has the correlations that it
    has in the stack: the anchors of `SlerpNoise` are those of the stack. Each draw takes the memory of the stack.

    Args:
        noise: of the stack.
        first: the stack's slice that is the volume's first one, from 0.
        slices: of the stack.

    Raises:
        InputError: a noise that follows the estimate, which nobody has of the whole stack; numbers out of range, when
            drawn also those that do not fit the volume.
    """

    noise: SliceNoise
    first: int
    slices: int

    def __post_init__(self) -> None:
        for noise in _parts(self.noise):
            if noise.follows_estimate:
                raise InputError(f"noise: found {noise.label}, which follows the whole estimate, expected another one")
        expect(0 <= self.first < self.slices, "first", self.first, f"0 to {self.slices - 1}, a slice of the stack")

    @property
    def label(self) -> str:
        return self.noise.label

    @property
    def aligned(self) -> bool:
        return self.noise.aligned

    @property
    def random(self) -> bool:
        return self.noise.random

    def stack(self, canvas: Canvas, sigma: float) -> Tensor:
        count = canvas.shape[0]
        most = self.slices - self.first
        expect(count <= most, "grid", f"{count} slices", f"at most {most}, as many as the stack has from there on")
        return self.noise.stack(_whole(canvas, self.slices), sigma)[self.first : self.first + count]


def _parts(noise: SliceNoise) -> Iterator[SliceNoise]:
    """A noise and those that it is made of."""
    yield noise
    for field in fields(noise):
        if isinstance(part := getattr(noise, field.name), SliceNoise):
            yield from _parts(part)


def _whole(canvas: Canvas, slices: int) -> Canvas:
    """The same canvas with more slices."""
    whole = copy(canvas)
    whole.shape = (slices, *canvas.shape[1:])
    whole.positions = torch.arange(slices, dtype=torch.float64, device="cpu") * canvas.step
    whole.estimate = None
    return whole
