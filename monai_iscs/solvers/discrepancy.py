# SPDX-License-Identifier: Apache-2.0
"""How closely a noisy measurement should be fitted."""

from __future__ import annotations

import math

from torch import Tensor

from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import InputError
from monai_iscs.operators import LinearOperator


class Discrepancy:
    """How far an image is from fitting a measurement up to its noise (the discrepancy principle, Morozov 1966).

    Args:
        operator: the scanner A.
        measurement: y.
        noise_level: root mean square of y's noise; 0: y must be fitted exactly.

    Attributes:
        norm: the norm of the noise, which is `y - A x` at the true x; 0 where y must be fitted exactly.

    Raises:
        InputError: a negative level, or a complex measurement.
    """

    def __init__(self, operator: LinearOperator, measurement: Tensor, noise_level: float) -> None:
        measurement = real_tensor(measurement, "measurement")
        if not noise_level >= 0:
            raise InputError(f"noise_level: found {noise_level}, expected a number of at least 0")
        self.operator = operator
        self.measurement = measurement
        self.norm = float(noise_level) * measurement.numel() ** 0.5

    def excess(self, x: Tensor) -> float:
        """How much ‖y - A x‖² is above the noise's; infinite without noise."""
        if not self.norm:
            return math.inf
        return float((self.measurement - self.operator(x)).double().square().sum()) - self.norm**2

    def share(self, residual: Tensor) -> float:
        """The noise's part of ‖residual‖, at most 1."""
        return self.norm / max(float(residual.norm()), self.norm) if self.norm else 0.0
