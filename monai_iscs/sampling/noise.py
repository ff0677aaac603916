# SPDX-License-Identifier: Apache-2.0
"""Slice noise: standard normal noise for a stack of slices, with a chosen correlation between the slices."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from monai_iscs.dtypes import computing_dtype
from monai_iscs.errors import InputError
from monai_iscs.randomness import random_stream


class SliceNoise(ABC):
    """Noise for a stack: each slice alone is N(0, I), whatever its correlation with the others.

    Random numbers are drawn in float32 by a CPU generator and then moved, so they do not depend on the device, nor
    on how many slices the prior takes at a time.

    Args:
        seed: decides the noise, by a stream of its own (`random_stream`): no measurement has the same numbers, whatever
            its seed. 0 if neither this nor `generator` is given.
        generator: a CPU generator to use instead of an own one.

    Attributes:
        aligned: whether neighbouring slices get alike noise in the steps, and so make alike errors.

    Raises:
        InputError: both are given, a negative seed, or a generator on another device.
    """

    aligned = True

    def __init__(self, *, seed: int | None = None, generator: torch.Generator | None = None) -> None:
        if generator is None:
            generator = random_stream(0 if seed is None else seed, "noise")
        elif seed is not None:
            raise InputError(f"both seed {seed} and a generator were given, expected one of them")
        elif generator.device.type != "cpu":
            raise InputError(f"generator is on {generator.device}, expected one on the CPU")
        self.generator = generator
        self._initial_state = generator.get_state()

    def reset(self) -> None:
        """Put the generator back to where it was at construction: the same draws come again."""
        self.generator.set_state(self._initial_state)

    @abstractmethod
    def __call__(self, like: Tensor, sigma: float) -> Tensor:
        """Draw noise of unit variance.

        Args:
            like: stack (S, C, H, W) that gives shape and device, and the type: float64 for float64, else float32.
            sigma: noise level that the noise will be multiplied with, for correlations that depend on it.

        Raises:
            InputError: a complex stack.
        """

    def _draw(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, device="cpu")  # whatever PyTorch's default device is


def _moved(tensor: Tensor, like: Tensor) -> Tensor:
    """A tensor of the CPU as one like another; a GPU is not waited for, which computes while the next one is drawn."""
    tensor = tensor.to(computing_dtype(like, "the stack"))
    return (tensor.pin_memory() if like.is_cuda else tensor).to(like.device, non_blocking=like.is_cuda)


class IndependentNoise(SliceNoise):
    """Fresh noise in every slice: the ordinary stochastic sampler."""

    aligned = False

    def __call__(self, like: Tensor, sigma: float) -> Tensor:
        return _moved(self._draw(*like.shape), like)


class IdenticalNoise(SliceNoise):
    """One noise map, the same in every slice: batch-consistent sampling (Kwon & Ye, 2025)."""

    def __call__(self, like: Tensor, sigma: float) -> Tensor:
        return _moved(self._draw(*like.shape[1:]), like).repeat(len(like), 1, 1, 1)


class SlerpNoise(SliceNoise):
    """Noise that turns from one anchor map to another along the slices: ISCS, Eq. 11.

    Slice i of S lies at the share `alpha_i = i / (S - 1)` of the geodesic between two anchors that enclose the
    angle Omega. Anchors are new at each call. Eq. 11 is computed in the equivalent form

        slice_i = cos(alpha_i Omega) z_1 + sin(alpha_i Omega) z_perp,

    where z_perp is the second anchor's part orthogonal to z_1, brought to the length of z_1. Two drawn anchors differ
    in length by a share of order 1/sqrt(pixels), and Eq. 11 between them is N(0, I) only to that order. Here the second
    anchor takes the length of the first: the path stays on one sphere, as the paper's argument wants it, and each
    slice is N(0, I) exactly, for any number of pixels and any angle. Neighbours correlate with cos(Omega / (S - 1)).

    Channels are independent: each has its own anchors and angle. Memory: the stack that is returned and the two
    anchors.

    Args:
        seed: see `SliceNoise`.
        generator: see `SliceNoise`.
        anchor_angle: angle between the anchors in degrees, above 0 and below 180. The second anchor is then built
            at that angle. None: the angle that the two independent draws happen to enclose, about 90 degrees.

    Raises:
        InputError: an angle outside (0, 180).
    """

    def __init__(
        self, *, seed: int | None = None, generator: torch.Generator | None = None, anchor_angle: float | None = None
    ) -> None:
        super().__init__(seed=seed, generator=generator)
        if anchor_angle is not None and not 0 < anchor_angle < 180:
            raise InputError(f"anchor_angle is {anchor_angle} degrees, expected a value above 0 and below 180")
        self.anchor_angle = anchor_angle

    def __call__(self, like: Tensor, sigma: float) -> Tensor:
        slices, channels = like.shape[:2]
        first, second = self._draw(*like.shape[1:]), self._draw(*like.shape[1:])
        angle = self._orthogonalise(first.view(channels, -1), second.view(channels, -1))
        alpha = torch.linspace(0, 1, slices, dtype=torch.float64, device="cpu")[:, None, None, None]
        turn = alpha * angle[:, None, None]
        stack = _moved(turn.cos(), like) * _moved(first, like)
        return stack.addcmul_(_moved(turn.sin(), like), _moved(second, like))

    def _orthogonalise(self, first: Tensor, second: Tensor) -> Tensor:
        """Make `second` orthogonal to `first` and as long, in place; return the angle to go, in radians, (channels,).

        A map of one pixel has no orthogonal direction: its angle is 0, so that every slice is the first anchor.
        """
        length = torch.linalg.vector_norm(first, dim=1)
        along = torch.linalg.vecdot(first, second) / length
        second.addcmul_(first, (along / length)[:, None], value=-1)
        across = torch.linalg.vector_norm(second, dim=1)
        exists = across > 1e-6 * along.hypot(across)
        second.mul_(torch.where(exists, length / across, 0.0)[:, None])
        if self.anchor_angle is None:
            angle = torch.atan2(across.double(), along.double())
        else:
            angle = torch.full_like(length, math.radians(self.anchor_angle), dtype=torch.float64)
        return torch.where(exists, angle, 0.0)


class StagedNoise(SliceNoise):
    """One kind of noise for the start, another for every re-noising.

    Both draw from one generator. With a Slerp start and identical steps it is the "BCS" of the paper's ablation (Table
    2), which changes the re-noising alone; `IdenticalNoise` is the original, identical from the start on.

    Args:
        start: class of the noise of the first call (or a `partial` of it), called with `generator`.
        steps: the same for every later call, until `reset`.
        seed: see `SliceNoise`.
        generator: see `SliceNoise`.
    """

    def __init__(
        self,
        *,
        start: Callable[..., SliceNoise],
        steps: Callable[..., SliceNoise],
        seed: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(seed=seed, generator=generator)
        self.start, self.steps = start(generator=self.generator), steps(generator=self.generator)
        self.aligned = self.steps.aligned
        self._started = False

    def reset(self) -> None:
        super().reset()
        self._started = False

    def __call__(self, like: Tensor, sigma: float) -> Tensor:
        noise = self.steps if self._started else self.start
        self._started = True
        return noise(like, sigma)
