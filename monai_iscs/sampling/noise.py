# SPDX-License-Identifier: Apache-2.0
"""Slice noise: standard normal noise for a volume, with a chosen correlation between its slices."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid


@dataclass(frozen=True)
class SliceNoise(ABC):
    """Settings of a noise for volumes: each slice alone is N(0, I), for any correlation with the others.

    Attributes:
        label: of samplers with it, in tables; empty for independent noise.
        aligned: whether neighbouring slices get similar noise in the steps, and so have similar errors.
        random: whether two draws differ.
        follows_estimate: whether a draw depends on the canvas's estimate.
    """

    label: ClassVar[str]
    aligned: ClassVar[bool] = True
    random: ClassVar[bool] = True
    follows_estimate: ClassVar[bool] = False

    @abstractmethod
    def stack(self, canvas: Canvas, sigma: float) -> Tensor:
        """Draw noise of unit variance.

        Args:
            canvas: the slices to draw for, with the random numbers.
            sigma: the noise will be multiplied by it; for correlations that depend on it.

        Returns:
            (S, C, H, W), on the CPU or from `canvas.send`.
        """

    def bind(
        self,
        grid: Grid,
        axis: int | Sequence[int],
        generator: torch.Generator,
        *,
        channels: int = 1,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> BoundNoise:
        """The noise of one reconstruction.

        Args:
            grid: of the volume.
            axis: along which the slices are stacked, 0, 1 or 2; of several each draw takes the next one in turn, see
                `Prior.axes`.
            generator: a CPU generator.
            channels: C of the volume.
            device: of the noise. Random numbers do not depend on it.
            dtype: float32 or float64; random numbers are drawn in float32.

        Raises:
            InputError: another axis, or a generator of another device.
        """
        axes = axis if isinstance(axis, Sequence) else (axis,)
        if not axes or not set(axes) <= {0, 1, 2}:
            raise InputError(f"axis: found {axis!r}, expected 0, 1 or 2")
        if generator.device.type != "cpu":
            raise InputError(f"generator: found one on {generator.device}, expected one on the CPU")
        device = torch.device(device)
        return BoundNoise(self, [Canvas(grid, axis, generator, channels, device, dtype) for axis in axes])


class Canvas:
    """The slices of a volume to draw noise for.

    Attributes:
        shape: (S, C, H, W), the slices that are perpendicular to the axis.
        step: from slice to slice, mm.
        positions: of the slices along the axis, mm from the first one, (S,), float64, on the CPU.
        draws: how often noise was drawn before.
        estimate: the last one of the slices, (S, C, H, W); None at the start.
    """

    def __init__(
        self,
        grid: Grid,
        axis: int,
        generator: torch.Generator,
        channels: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        in_plane = [n for index, n in enumerate(grid.shape) if index != axis]
        self.shape = (grid.shape[axis], channels, *in_plane)
        self.step = grid.spacing[axis]
        self.positions = torch.arange(grid.shape[axis], dtype=torch.float64, device="cpu") * self.step
        self.axis, self.generator, self.draws = axis, generator, 0
        self.estimate: Tensor | None = None
        self._device, self._dtype = device, dtype

    def draw(self, slices: int | None = None) -> Tensor:
        """Independent maps (slices, C, H, W), or one map (C, H, W); float32, on the CPU."""
        shape = self.shape[1:] if slices is None else (slices, *self.shape[1:])
        return torch.randn(shape, generator=self.generator, device="cpu")  # for any default device of PyTorch

    def send(self, tensor: Tensor) -> Tensor:
        """A CPU tensor with the volume's device and type; does not wait for a busy GPU."""
        on_gpu = self._device.type == "cuda"
        tensor = tensor.to(self._dtype)
        return (tensor.pin_memory() if on_gpu else tensor).to(self._device, non_blocking=on_gpu)


class BoundNoise:
    """The noise of one volume: `noise(sigma, estimate)` draws (C, X, Y, Z) of unit variance.

    Args:
        noise: its settings.
        canvases: its slices; of several each draw takes the next ones in turn. They share their random numbers.
    """

    def __init__(self, noise: SliceNoise, canvases: Sequence[Canvas]) -> None:
        self.noise, self._canvases, self._draws = noise, tuple(canvases), 0

    @property
    def canvas(self) -> Canvas:
        """The slices of the next draw."""
        canvas = self._canvases[self._draws % len(self._canvases)]
        canvas.draws = self._draws
        return canvas

    def __call__(self, sigma: float, estimate: Tensor | None = None) -> Tensor:
        """Draw a volume (C, X, Y, Z).

        Args:
            sigma: by which the noise will be multiplied.
            estimate: the last one, shaped like it; None at the start.
        """
        axis = self.canvas.axis + 1
        return self.stack(sigma, None if estimate is None else estimate.movedim(axis, 0)).movedim(0, axis)

    def stack(self, sigma: float, estimate: Tensor | None = None) -> Tensor:
        """Draw the same as slices (S, C, H, W)."""
        canvas = self.canvas
        canvas.estimate = estimate
        stack = canvas.send(self.noise.stack(canvas, sigma))
        canvas.estimate = None
        self._draws += 1
        return stack

    def state_dict(self) -> dict[str, Any]:
        """The state of the random numbers."""
        return {"generator": self.canvas.generator.get_state(), "draws": self._draws}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.canvas.generator.set_state(state["generator"])
        self._draws = state["draws"]


@dataclass(frozen=True)
class IndependentNoise(SliceNoise):
    """Fresh noise in every slice: the ordinary stochastic sampler."""

    label = ""
    aligned = False

    def stack(self, canvas: Canvas, sigma: float) -> Tensor:
        return canvas.draw(canvas.shape[0])


@dataclass(frozen=True)
class IdenticalNoise(SliceNoise):
    """One noise map, the same in every slice: batch-consistent sampling (Kwon & Ye, 2025)."""

    label = "BCS"

    def stack(self, canvas: Canvas, sigma: float) -> Tensor:
        return canvas.send(canvas.draw()).repeat(canvas.shape[0], 1, 1, 1)


@dataclass(frozen=True)
class SlerpNoise(SliceNoise):
    """Noise that turns from one anchor map to another along the slices: ISCS, Eq. 11.

    Slice i of S is at the share `alpha_i = i / (S - 1)` of the geodesic between two anchors that enclose the
    angle Omega. Anchors are new at each call. Eq. 11 is computed in the equivalent form

        slice_i = cos(alpha_i Omega) z_1 + sin(alpha_i Omega) z_perp,

    where z_perp is the second anchor's part orthogonal to z_1, scaled to the length of z_1. Two drawn anchors differ in
    length by a share of order 1/sqrt(pixels), and Eq. 11 between them is N(0, I) only to that order. Here the second
    anchor gets the length of the first: the path stays on one sphere, as in the paper's argument, and each slice is
    N(0, I) exactly, for any number of pixels and any angle. Neighbours correlate with cos(Omega / (S - 1)).

    Channels are independent: each has its own anchors and angle. Memory: the returned stack and the two anchors.

    Args:
        anchor_angle: angle between the anchors in degrees, above 0 and below 180. The second anchor is then built at
            that angle. None: the angle between the two independent draws, about 90 degrees.

    Raises:
        InputError: an angle outside (0, 180).
    """

    anchor_angle: float | None = None
    label = "ISCS"

    def __post_init__(self) -> None:
        if self.anchor_angle is not None and not 0 < self.anchor_angle < 180:
            raise InputError(f"anchor_angle: found {self.anchor_angle} degrees, expected more than 0 and less than 180")

    def stack(self, canvas: Canvas, sigma: float) -> Tensor:
        slices, channels = canvas.shape[:2]
        first, second = canvas.draw(), canvas.draw()
        angle = self._orthogonalise(first.view(channels, -1), second.view(channels, -1))
        alpha = torch.linspace(0, 1, slices, dtype=torch.float64, device="cpu")[:, None, None, None]
        turn = alpha * angle[:, None, None]
        stack = canvas.send(turn.cos()) * canvas.send(first)
        return stack.addcmul_(canvas.send(turn.sin()), canvas.send(second))

    def _orthogonalise(self, first: Tensor, second: Tensor) -> Tensor:
        """Make `second` orthogonal to `first` and equally long, in place; return their angle in radians, (channels,).

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


@dataclass(frozen=True)
class StagedNoise(SliceNoise):
    """One kind of noise for the start, another for every re-noising.

    Both draw from one generator. With a Slerp start and identical steps it is the "BCS" of the paper's ablation (Table
    2), which changes the re-noising alone; `IdenticalNoise` is the original, identical from the start on.

    Args:
        start: the noise of the first draw.
        steps: the noise of every later one.
    """

    start: SliceNoise
    steps: SliceNoise

    @property
    def label(self) -> str:
        return f"{self.steps.label} (steps only)"

    @property
    def aligned(self) -> bool:
        return self.steps.aligned

    def stack(self, canvas: Canvas, sigma: float) -> Tensor:
        return (self.steps if canvas.draws else self.start).stack(canvas, sigma)
