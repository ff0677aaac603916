# SPDX-License-Identifier: Apache-2.0
"""Thick slices: averages of thin ones along one axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.operators.along_axis import AlongAxis
from monai_iscs.operators.linear_operator import LinearOperator, MeasuredImages

ROUNDING = 1e-6  # of a thick slice: a smaller remainder does not make another slice

Profile = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class BoxProfile:
    """Equal sensitivity over the slice's thickness: `C(u) = clip(u / width + 1/2, 0, 1)`.

    Args:
        width: thickness of a slice over the distance of two slices; below 1 leaves a gap, above 1 they overlap.

    Raises:
        InputError: a width that is not above 0.
    """

    width: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.width < math.inf:
            raise InputError(f"width: found {self.width}, expected a number of slice distances above 0")

    def __call__(self, u: Tensor) -> Tensor:
        """The share of the signal from below u; u is the distance from the slice's centre in slice distances."""
        return (u / self.width + 0.5).clamp(0, 1)


@dataclass(frozen=True)
class GaussianProfile:
    """Gaussian sensitivity, as of a selective pulse: `C(u) = (1 + erf(u / (s √2))) / 2`, `s = fwhm / (2 √(2 ln 2))`.

    Args:
        fwhm: full width at half maximum over the distance of two slices; it is the nominal thickness, so that
            0.8 is a gap of a quarter of a slice.

    Raises:
        InputError: a width that is not above 0.
    """

    fwhm: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.fwhm < math.inf:
            raise InputError(f"fwhm: found {self.fwhm}, expected a number of slice distances above 0")

    def __call__(self, u: Tensor) -> Tensor:
        """The share of the signal from below u; u is the distance from the slice's centre in slice distances."""
        return (1 + torch.erf(u * (2 * math.sqrt(math.log(2)) / self.fwhm))) / 2


class SliceAveraging(AlongAxis):
    """Thick slices as weighted means of thin ones: (X, Y, Z) to (X, Y, ceil(Z / factor)).

    With voxel k from k to k + 1, thick slice i reaches from `i factor` to `min((i + 1) factor, Z)`; c is the middle of
    that and f its length. Its weights `w_k ∝ C((k + 1 - c) / f) - C((k - c) / f)` sum to 1; C is the profile. A last
    slice with less than `factor` voxels thus averages those. Exact for any factor, also a fraction: a voxel
    that two thick slices share counts for its share in each.

    Args:
        volume_shape: shape of the volume in thin slices, voxels.
        factor: distance of two thick slices in thin ones, above 1.
        axis: axis of the volume that the slices stack along.
        profile: C, a function that takes distances from a slice's centre (float64, in slice distances, negative below)
            to the share of the slice's signal that comes from below there: it grows from 0 to 1.

    Attributes:
        positions: centres of mass of the thick slices' weights, in indices of thin slices, (ceil(Z / factor),) float64.

    Raises:
        InputError: an axis that the volume doesn't have, a factor that is not above 1 or larger than the number of
            slices, or a profile that leaves a slice without signal.
    """

    def __init__(
        self, volume_shape: Sequence[int], *, factor: float, axis: int = 2, profile: Profile | None = None
    ) -> None:
        if not 0 <= axis < len(volume_shape):
            raise InputError(
                f"axis: found {axis}, expected 0 to {len(volume_shape) - 1}, an axis of {tuple(volume_shape)}"
            )
        slices = volume_shape[axis]
        if not 1 < factor <= slices:
            raise InputError(
                f"factor: found {factor:g}, expected more than 1 and at most {slices}, the number of slices along axis "
                f"{axis}"
            )
        matrix = _weights(slices, float(factor), BoxProfile() if profile is None else profile)
        self._set(volume_shape, matrix, float(factor), axis)

    @classmethod
    def of_weights(
        cls, volume_shape: Sequence[int], weights: Tensor, *, factor: float, axis: int = 2
    ) -> SliceAveraging:
        """The same from given weights of any profile.

        Args:
            volume_shape: shape of the volume in thin slices, voxels.
            weights: of the thin slices in each thick one, (ceil(Z / factor), Z), none negative; rows sum to 1.
            factor: distance of two thick slices in thin ones.
            axis: axis of the volume that the slices stack along.

        Raises:
            InputError: other weights, or a factor that is not above 1.
        """
        weights = weights.to(torch.float64)
        slices = volume_shape[axis]
        expected = (math.ceil(slices / factor - ROUNDING), slices) if factor > 1 else None
        if tuple(weights.shape) != expected:
            raise InputError(
                f"weights: found shape {tuple(weights.shape)} for a factor of {factor:g}, expected {expected}"
            )
        if not bool((weights >= 0).all()) or not bool(((weights.sum(1) - 1).abs() < ROUNDING).all()):
            raise InputError("weights: found rows that are not shares, expected numbers of at least 0 that sum to 1")
        self = cls.__new__(cls)
        self._set(volume_shape, weights, float(factor), axis)
        return self

    def _set(self, volume_shape: Sequence[int], matrix: Tensor, factor: float, axis: int) -> None:
        super().__init__(volume_shape, matrix, axis)
        self.factor = factor
        if len(volume_shape) == 3:
            self.images = MeasuredImages(axes=tuple(i - 3 for i in range(3) if i != axis), even_noise=True)
        self.resolution = tuple(factor if index == axis else 1.0 for index in range(len(volume_shape)))
        self.positions = matrix @ torch.arange(volume_shape[axis], dtype=torch.float64)

    @cached_property
    def pseudo_inverse(self) -> LinearOperator:
        """A⁺ (Moore and Penrose), exact: the pseudo-inverse of the weights, applied along every line."""
        return AlongAxis(self.range_shape, torch.linalg.pinv(self.matrix), self.axis)


def _weights(slices: int, factor: float, profile: Profile) -> Tensor:
    """Weights of the thin slices in each thick one, (thick, thin), float64; each row sums to 1."""
    count = math.ceil(slices / factor - ROUNDING)
    start = torch.arange(count, dtype=torch.float64)[:, None] * factor
    end = (start + factor).clamp(max=slices)
    edges = torch.arange(slices + 1, dtype=torch.float64)
    below = profile((edges - (start + end) / 2) / (end - start))
    weights = below.diff(dim=1)
    total = weights.sum(dim=1, keepdim=True)
    if not bool((total > 0).all()) or bool((weights < 0).any()):
        raise InputError(f"profile: found {profile!r}, expected a function that grows from 0 to 1 within the volume")
    return weights / total
