# SPDX-License-Identifier: Apache-2.0
"""Smooth corrections: they couple neighbouring voxels that the measurement does not resolve."""

from __future__ import annotations

from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.operators import GaussianSmoothing, LinearOperator, RampFilter


def smoothing_along(operator: LinearOperator, width: float, axis: int) -> LinearOperator | None:
    """Smoothing along an axis, relative to the distance of the scanner's samples there.

    If slices are thinner than the distance of the measurement's samples across them, each ray meets only a few slices:
    corrections along the rays alone differ from slice to slice and show the sampling pattern in the volume.
    Neighbouring slices need similar corrections where their errors are similar, as they are with similar noise. In the
    plane of the slices the same is true for thick slices that cross it: without smoothing, their corrections are
    blocks.

    Args:
        operator: the scanner of a volume (X, Y, Z).
        width: standard deviation of the Gaussian, in units of `operator.resolution` along the axis.
        axis: of the volume.

    Returns:
        S of the correction `S u`, or None for a width of 0 or a scanner without resolution.

    Raises:
        InputError: a negative width.
    """
    if not width >= 0:
        raise InputError(f"smoothing: found {width}, expected a width of at least 0")
    if width == 0 or operator.resolution is None:
        return None
    return GaussianSmoothing(operator.domain_shape, std=width * operator.resolution[axis], axis=axis)


class Preconditioner:
    """S R Sᵀ, symmetric and positive semidefinite: the iterations stay in `x0 + S u`.

    S smooths corrections (see `smoothing_along`). R is the ramp filter in the plane of a scanner's orbit, where AᵀA
    weighs frequencies by about 1 / |f|: without it the first iterations correct coarse structures only, and many are
    needed for fine ones. Above its cutoff R is flat, because few views tell little of the finest structures.

    Args:
        operator: the scanner of a volume (X, Y, Z).
        axis: of the stack of slices.
        across: width of S across the slices, see `smoothing_along`.
        in_plane: the same along the axes of the slices' plane whose samples are farther apart than the voxels.
        ramp: cutoff of R, as a share of the voxels' Nyquist frequency; 0: no R. It changes nothing for scanners without
            an orbit.

    Attributes:
        exists: whether it changes anything.

    Raises:
        InputError: a negative width or cutoff.
    """

    def __init__(self, operator: LinearOperator, axis: int, *, across: float, in_plane: float, ramp: float) -> None:
        widths = {axis: across}
        if in_plane and operator.resolution is not None:
            others = (other for other in range(len(operator.domain_shape)) if other != axis)
            widths |= {other: in_plane for other in others if operator.resolution[other] > 1}
        smoothers = [smoothing_along(operator, width, along) for along, width in widths.items()]
        self._smoothers = [smoother for smoother in smoothers if smoother is not None]
        self._ramp = None
        if ramp and operator.orbit_plane is not None:
            self._ramp = RampFilter(operator.domain_shape, spacing=operator.orbit_plane, cutoff=ramp)
        self.exists = bool(self._smoothers) or self._ramp is not None

    def __call__(self, residual: Tensor) -> Tensor:
        """S R Sᵀ r; smoothings along different axes commute."""
        if self._ramp is None:
            for smoother in self._smoothers:
                residual = smoother.normal(residual)
            return residual
        return self.spread(self._ramp(self.gather(residual)))

    def spread(self, u: Tensor) -> Tensor:
        """S u."""
        for smoother in self._smoothers:
            u = smoother(u)
        return u

    def gather(self, residual: Tensor) -> Tensor:
        """Sᵀ r."""
        for smoother in self._smoothers:
            residual = smoother.T(residual)
        return residual
