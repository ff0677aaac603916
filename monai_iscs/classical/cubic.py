# SPDX-License-Identifier: Apache-2.0
"""Cubic interpolation across thick slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.interpolate import CubicSpline

from monai_iscs.classical.unscaled import unscaled
from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import InputError
from monai_iscs.operators import SliceAveraging
from monai_iscs.scans import Measurement


def cubic(measurement: Measurement) -> torch.Tensor:
    """Cubic interpolation between the centres of thick slices, see `cubic_spline`.

    Args:
        measurement: thick slices (C, ...) of a `SliceAveraging`, also of a scaled one.

    Returns:
        Volume (C, X, Y, Z).

    Raises:
        InputError: another operator, without slices to interpolate.
    """
    thick, operator = unscaled(measurement)
    if not isinstance(operator, SliceAveraging):
        raise InputError(f"cubic: found a measurement of {operator.name}, expected one of SliceAveraging")
    length = operator.domain_shape[operator.axis]
    return cubic_spline(thick, operator.positions, length, axis=operator.axis + 1)


def cubic_spline(
    thick: torch.Tensor, positions: Sequence[float] | torch.Tensor, length: int, *, axis: int = -1
) -> torch.Tensor:
    """Interpolate thick slices to fine ones by SciPy's cubic spline through their centres (not-a-knot ends).

    Fine slices before the first centre and after the last one equal those at that centre: cubics extrapolate badly.
    Three centres give a parabola, two a line, one a constant.

    Args:
        thick: any shape, any units, real.
        positions: the thick slices' centres among the fine ones, rising: `SliceAveraging.positions`. Slice k of factor
            f lies at k · f + (f − 1) / 2, counted from the first fine slice's middle.
        length: number of fine slices.
        axis: of `thick`, across its slices.

    Returns:
        Shape of `thick` with `length` along `axis`; its device; float64 for float64, else float32. Not differentiable.

    Raises:
        InputError: another number of positions than of slices, positions that do not rise, a length below 1, or
            complex slices.
    """
    thick = real_tensor(thick, "thick")
    centers = torch.as_tensor(positions, dtype=torch.float64).cpu().numpy()
    if centers.shape != (thick.shape[axis],):
        raise InputError(
            f"positions: found shape {centers.shape}, expected one number for each of {thick.shape[axis]} slices"
        )
    if not np.all(np.diff(centers) > 0):
        raise InputError(f"positions: found {centers.tolist()}, expected rising numbers")
    if length < 1:
        raise InputError(f"length: found {length}, expected at least 1")
    values = thick.detach().as_subclass(torch.Tensor).cpu().numpy()
    if len(centers) == 1:
        fine = np.repeat(values, length, axis)
    else:
        wanted = np.clip(np.arange(length), centers[0], centers[-1])
        fine = CubicSpline(centers, values, axis=axis)(wanted)
    return torch.from_numpy(fine).to(thick)
