# SPDX-License-Identifier: Apache-2.0
"""Which part of a reconstruction its measurement supplied, and which the prior filled in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.operators import GaussianSmoothing, LinearOperator
from monai_iscs.solvers import conjugate_gradient

ITERATIONS = 30
COARSE, NEAR = 20.0, 3.0  # mm: standard deviations of the mean that contrast is relative to, and of local averages
FAINT = 0.002  # of the prior's range (5 HU): contrast below counts as none


def null_space_part(volume: Tensor, operator: LinearOperator, *, iterations: int = ITERATIONS) -> Tensor:
    """The part of a volume that a scanner does not see: x - A⁺A x (Bhadra et al., IEEE TMI 2021).

    Without an exact pseudo-inverse A⁺A x is approached from zero by conjugate gradients on the normal equations. They
    fit first what is measured well: what `iterations` do not reach, and noise would hide, counts as not seen. A
    preconditioner in the volume, such as the ramp filter of the recipes, would be faster but is not used: of all
    volumes with the same projections it finds a rougher one than A⁺ does, and the rest can be larger than x itself.

    Args:
        volume: x, (C, X, Y, Z).
        operator: A.
        iterations: of conjugate gradients.

    Raises:
        InputError: an operator without an exact adjoint.
    """
    if operator.pseudo_inverse is not None:
        return volume - operator.pseudo_inverse(operator(volume))
    if not operator.matched:
        raise InputError(f"operator: found {operator.name}, expected one with an exact adjoint")
    return volume - conjugate_gradient(operator.normal, operator.normal(volume), iterations=iterations)


@torch.no_grad()
def filled_in(volume: Tensor, operator: LinearOperator, spacing: Sequence[float]) -> Tensor:
    """The share of a volume's local contrast that its measurement did not supply, 0 to 1.

    The contrast c is the volume's difference from its coarse mean, a Gaussian average of 20 mm, and n the same of its
    part in the null space (see `null_space_part`). The share is ⟨n c⟩ / max(⟨c²⟩, ⟨n²⟩), with averages over 3 mm: 1
    where all contrast is n's, 0 where n has nothing of it, or only cancels the streaks of the measured rest. Where
    there is hardly any contrast, as in air, it goes to 0.

    Args:
        volume: in the prior's units, (C, X, Y, Z).
        operator: of its measurement.
        spacing: of its voxels, mm.

    Returns:
        Shaped like `volume`.
    """
    unseen = null_space_part(volume, operator)
    unseen = unseen - _averaged(unseen, spacing, COARSE)
    contrast = volume - _averaged(volume, spacing, COARSE)
    common, whole, null = (
        _averaged(product, spacing, NEAR) for product in (unseen * contrast, contrast.square(), unseen.square())
    )
    return (common / (torch.maximum(whole, null).clamp(min=0) + FAINT**2)).clamp(0, 1)


def _averaged(volume: Tensor, spacing: Sequence[float], width: float) -> Tensor:
    """Gaussian averages of a standard deviation in mm."""
    for axis, size in enumerate(spacing):
        if volume.shape[1 + axis] > 1:
            volume = GaussianSmoothing(volume.shape[1:], std=width / size, axis=axis).forward(volume)
    return volume
