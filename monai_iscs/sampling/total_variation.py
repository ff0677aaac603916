# SPDX-License-Identifier: Apache-2.0
"""Consistency with the measurement and, by total variation, of the slices with each other."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import InputError
from monai_iscs.operators import Differences, LinearOperator, soft_threshold
from monai_iscs.scans import NoiseLevel, tell_noise_level
from monai_iscs.solvers import ADMM, check_matched, voxel_weight


class DDSTV:
    """DDS with total variation across slices (DiffusionMBIR, Chung et al. 2023; DDS, Chung et al. 2024, 3D).

    Each step runs a few iterations of the alternating direction method of multipliers from x0 on

        ‖A x − y‖² / 2 + ‖x − x0‖² / (2 gamma) + λ w ‖D x‖₁,

    D being the differences of neighbouring slices (first and last are none) and w = `voxel_weight(A)`, so that λ has
    the unit of x whatever the units of y and the number of views. Without `gamma` the second term is left out, as in
    the DDS code: the few conjugate gradient iterations keep x near x0. Split and dual variable go on from step to
    step: one iteration in each is enough, but an object serves one volume only.

    Args:
        operator: the scanner A of a stack (S, C, H, W), with a matched adjoint.
        measurement: y, (..., *operator.range_shape). Aᵀy is computed once, here.
        lam: λ, in units of x.
        rho: ADMM's penalty ρ / w; λ / ρ is the threshold under which differences of slices are taken for noise.
        iterations: conjugate gradient iterations in each ADMM iteration.
        admm_iterations: ADMM iterations in each step.
        gamma: weight of the measurement against the prior's estimate (a number, or a function of sigma), or None.
        noise_level: root mean square of the measurement's noise, or a function that tells it, as in `DDS`. It sets
            `gamma` to (sigma / noise level)²: x0's error is taken to be sigma. Only without a `gamma`.

    Raises:
        InputError: an unmatched operator, an argument out of range, or a complex measurement.
    """

    def __init__(
        self,
        operator: LinearOperator,
        measurement: Tensor,
        *,
        lam: float = 0.003,
        rho: float = 0.3,
        iterations: int = 10,
        admm_iterations: int = 1,
        gamma: float | Callable[[float], float] | None = None,
        noise_level: NoiseLevel = 0.0,
    ) -> None:
        check_matched(operator)
        if not lam >= 0 or not rho > 0 or iterations < 1 or admm_iterations < 1:
            raise InputError(
                f"lam={lam}, rho={rho}, iterations={iterations}, admm_iterations={admm_iterations}: expected lam >= 0, "
                "rho > 0, iterations >= 1 and admm_iterations >= 1"
            )
        level = tell_noise_level(noise_level, measurement, operator)
        if level and gamma is not None:
            raise InputError("noise_level is given, expected no gamma with it")
        self.operator = operator
        self.lam = lam
        self.rho = rho
        self.iterations = iterations
        self.admm_iterations = admm_iterations
        self.gamma = (lambda sigma: (sigma / level) ** 2) if level else gamma
        weight = voxel_weight(operator, measurement)
        across = Differences(operator.domain_shape, axes=(0,))
        self._admm = ADMM(across, lambda v, t: soft_threshold(v, lam * weight * t), rho=rho * weight)
        self._backprojection = operator.T(measurement)

    def __call__(self, x0: Tensor, sigma: float) -> Tensor:
        """Return the estimate after the consistency step, shaped like `x0`."""
        x0 = real_tensor(x0, "x0")
        gamma = self.gamma(sigma) if callable(self.gamma) else self.gamma
        near = 0.0 if gamma is None else 1 / gamma
        right_side = self._backprojection + near * x0
        x = x0
        for _ in range(self.admm_iterations):
            x = self._admm.solve(
                lambda p: self.operator.normal(p) + near * p, right_side, x, iterations=self.iterations
            )
            self._admm.split(x)
        return x
