# SPDX-License-Identifier: Apache-2.0
"""How much of a measurement is wrong beside its noise."""

from __future__ import annotations

import torch

from monai_iscs.scans.measurement import Measurement
from monai_iscs.solvers import Discrepancy, conjugate_gradient

ITERATIONS = 40


def unexplained_level(measurement: Measurement) -> float:
    """Root mean square of what no volume on the grid explains: a least-squares fit leaves it.

    That is noise and the model's own error: anatomy finer than the grid, rays finer than pixels, scatter, a hard
    spectrum, a geometry that is not quite right. With few views much of the error can be fitted: it is a lower bound.

    Returns:
        In the measurement's units; at most its noise level where a fit reaches that, and 0 where the operator has no
        exact adjoint to fit with.
    """
    fitted = measurement.weighted
    operator, y = fitted.operator, fitted.data
    if not operator.matched:
        return 0.0
    start = y.new_zeros(fitted.volume_shape)
    enough = Discrepancy(operator, y, fitted.noise_level).excess(start)
    x = conjugate_gradient(operator.normal, operator.T(y), iterations=ITERATIONS, enough=enough)
    left = float((y - operator(x)).square_().mean(dtype=torch.float64).sqrt())
    return left if measurement.weights is None else left / float(measurement.weights.double().mean().sqrt())
