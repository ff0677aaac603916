# SPDX-License-Identifier: Apache-2.0
"""The classical methods as they are compared: functions from a measurement and its operator to a volume."""

from __future__ import annotations

from torch import Tensor

from monai_iscs.classical.admm_tv import ADMMTV
from monai_iscs.classical.cubic import cubic
from monai_iscs.classical.fdk import fdk
from monai_iscs.errors import InputError
from monai_iscs.operators import LinearOperator, SliceAveraging
from monai_iscs.scans import estimate_noise_level
from monai_iscs.solvers import SIRT

OTHERWISE = "(a sampler may also start from zeros with start=None, or from start(measurement, operator) of your own)"


def fdk_volume(measurement: Tensor, operator: LinearOperator) -> Tensor:
    """Filtered backprojection of a cone-beam measurement.

    Args:
        measurement: projections (C, view, v, u).
        operator: a `ConeBeamProjector`, also a scaled one; the volume comes in the units of its domain.

    Returns:
        Volume (C, X, Y, Z).

    Raises:
        InputError: the operator has no cone-beam geometry.
    """
    scale, operator = _unscaled(operator)
    if not hasattr(operator, "geometry"):
        raise InputError(f"the FDK start was asked for {operator.name}, expected a ConeBeamProjector {OTHERWISE}")
    return fdk(measurement / scale, operator.geometry)


def sirt_volume(measurement: Tensor, operator: LinearOperator) -> Tensor:
    """SIRT from zero, without negative attenuation.

    Args:
        measurement: (C, *operator.range_shape).
        operator: the scanner.

    Returns:
        Volume (C, X, Y, Z).
    """
    return SIRT(operator, non_negative=True)(measurement)


def admm_tv_volume(measurement: Tensor, operator: LinearOperator) -> Tensor:
    """Total variation, without negative values; as much as the noise of the measurement asks for.

    Args:
        measurement: (C, *operator.range_shape).
        operator: the scanner, with a matched adjoint.

    Returns:
        Volume (C, X, Y, Z).
    """
    return ADMMTV(operator, non_negative=True, noise_level=estimate_noise_level)(measurement)


def cubic_volume(measurement: Tensor, operator: LinearOperator) -> Tensor:
    """Cubic interpolation between the centres of thick slices.

    Args:
        measurement: thick slices (C, *operator.range_shape).
        operator: a `SliceAveraging`, also a scaled one.

    Returns:
        Volume (C, X, Y, Z).

    Raises:
        InputError: another operator, which has no slices to interpolate.
    """
    scale, operator = _unscaled(operator)
    if not isinstance(operator, SliceAveraging):
        raise InputError(f"the cubic start was asked for {operator.name}, expected a SliceAveraging {OTHERWISE}")
    length = operator.domain_shape[operator.axis]
    return cubic(measurement / scale, operator.positions, length, axis=operator.axis + 1)


def _unscaled(operator: LinearOperator) -> tuple[float, LinearOperator]:
    """What a scanner is a multiple of, and the factor.

    Raises:
        InputError: the factor is 0, which measures nothing.
    """
    scale = 1.0
    while hasattr(operator, "scalar"):
        scale, operator = scale * operator.scalar, operator.parent
    if scale == 0:
        raise InputError(f"the operator is 0 times {operator.name}, expected one that measures something")
    return scale, operator
