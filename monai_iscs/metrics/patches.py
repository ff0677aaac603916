# SPDX-License-Identifier: Apache-2.0
"""Square patches of axial slices, and rings of equal spatial frequency in their spectra."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import expect

SMALLEST = 8  # pixels across a patch: fewer have no more than three rings


@dataclass(frozen=True)
class Patches:
    """Axial patches of one size, each half a patch apart from the next, and the rings of their spectra.

    Ring k holds the frequencies (u, v) with |(u, v)| nearest to k / length, `length` being the patch's shorter side.

    Args:
        side: of a patch, in mm; it is rounded to whole pixels.
        spacing: voxel size along x, y, z in mm.
        shape: of the volumes (X, Y, Z).

    Raises:
        InputError: patches of less than 8 pixels, or larger than the slices.
    """

    side: float
    spacing: Sequence[float]
    shape: Sequence[int]

    def __post_init__(self) -> None:
        found = f"{self.side:g} mm, {' x '.join(map(str, self.size))} pixels"
        expect(min(self.size) >= SMALLEST, "side", found, f"at least {SMALLEST} pixels across a patch")
        fits = all(n <= there for n, there in zip(self.size, self.shape[:2], strict=True))
        expect(fits, "side", found, f"at most the slice's {' x '.join(map(str, self.shape[:2]))}")

    @property
    def size(self) -> tuple[int, int]:
        """Pixels of a patch along x and y."""
        return tuple(round(self.side / step) for step in self.spacing[:2])

    @property
    def pixel(self) -> float:
        """Area of a pixel in mm²."""
        return self.spacing[0] * self.spacing[1]

    def cut(self, plane: Tensor) -> Tensor:
        """The patches of a slice (X, Y), as (P, Q, n, m)."""
        for axis, n in enumerate(self.size):
            plane = plane.unfold(axis, n, n // 2)
        return plane

    @property
    def _rings(self) -> Tensor:
        """The ring of each frequency of `torch.fft.fft2`, (n, m)."""
        u, v = (torch.fft.fftfreq(n, step) for n, step in zip(self.size, self.spacing, strict=False))
        return (torch.hypot(u[:, None], v[None, :]) / self.frequencies[1]).round().long()

    @property
    def frequencies(self) -> Tensor:
        """The middle of each ring that is complete, from 0 to the Nyquist frequency, in 1/mm."""
        length = min(n * step for n, step in zip(self.size, self.spacing, strict=False))
        return torch.arange(int(length / (2 * max(self.spacing[:2])) + 1e-6) + 1) / length

    def ring_sums(self, spectra: Tensor) -> Tensor:
        """Sums of spectra (..., n, m) over the complete rings, (..., R)."""
        rings = self._rings
        sums = spectra.new_zeros(*spectra.shape[:-2], int(rings.max()) + 1)
        return sums.index_add(-1, rings.flatten(), spectra.flatten(-2))[..., : len(self.frequencies)]


def pair(
    first: Tensor, second: Tensor, names: tuple[str, str] = ("reconstruction", "reference")
) -> tuple[Tensor, Tensor]:
    """Two real volumes on one grid, to compute with.

    Args:
        first: (X, Y, Z).
        second: (X, Y, Z).
        names: of the two in messages.

    Raises:
        InputError: complex volumes, or other shapes.
    """
    first, second = (real_tensor(volume, name) for volume, name in zip((first, second), names, strict=True))
    found, wanted = tuple(first.shape), tuple(second.shape)
    expect(found == wanted, names[0], f"shape {found}", f"the {names[1]}'s {wanted}")
    expect(len(found) == 3, names[0], f"shape {found}", "(X, Y, Z)")
    return first, second
