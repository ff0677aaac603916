# SPDX-License-Identifier: Apache-2.0
"""Total variation: the classical prior against streaks."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import expect
from monai_iscs.operators import Differences, LinearOperator, shrink_length
from monai_iscs.scans import Measurement
from monai_iscs.solvers import ADMM, check_matched, conjugate_gradient, voxel_weight

NOISE_SHARE = 2.0  # λ in units of a voxel's noise: CT is best at 2 to 3, thick slices at 0.5 to 1 (validation volumes)


def admm_tv(measurement: Measurement, *, non_negative: bool = True, **settings: Any) -> torch.Tensor:
    """Total variation, as strong as the noise of the measurement requires.

    Args:
        measurement: of any operator with a matched adjoint.
        non_negative: no value below 0.
        **settings: other arguments of `ADMMTV`, such as `lam`.

    Returns:
        Volume (C, X, Y, Z).

    Raises:
        InputError: an unmatched operator, or a setting out of range.
    """
    measurement = measurement.weighted
    solve = ADMMTV(measurement.operator, non_negative=non_negative, noise_level=measurement.noise_level, **settings)
    return solve(measurement.data)


class ADMMTV:
    """min over x of ‖A x − y‖² / 2 + λ w ‖D x‖₂,₁ by the alternating direction method of multipliers.

    Isotropic total variation (Rudin, Osher and Fatemi 1992): D are the differences along all axes of the domain, per
    voxel, whose length is summed over the voxels; the volume's two ends are not neighbours. w is `voxel_weight(A)`, so
    that λ has the unit of x and keeps its meaning with another geometry, another number of views or other units of y:
    with A = I it is the threshold of denoising.

    Each iteration improves x by conjugate gradients, starting from the last x, then shrinks. The penalty ρ follows the
    residuals (Boyd et al. 2011, §3.4.1, made relative as in Wohlberg 2017): it doubles or halves if one is more than
    ten times the other. It only affects how fast the minimum is reached.

    With `noise_level`, λ is large enough to keep noise out of the volume: at least `NOISE_SHARE` times the noise of one
    voxel's backprojection Aᵀy / w, which is level / √w.

    Args:
        A: the operator, with a matched adjoint.
        lam: λ, in units of x; with `noise_level` the smallest λ.
        iterations: at most this many.
        cg_iterations: conjugate gradient iterations in each of them, one A and Aᵀ each.
        non_negative: x ≥ 0 as a constraint of the problem.
        rtol: stop when primal and dual residual, relative as in `ADMM.split`, are below this; 0: never.
        rho: ρ / w at the start.
        relaxation: over-relaxation in (0, 2), 1 for none.
        noise_level: root mean square of the measurement's noise; 0 keeps λ.

    Raises:
        InputError: an unmatched operator, or an argument out of range.
    """

    def __init__(
        self,
        A: LinearOperator,
        *,
        lam: float = 0.004,
        iterations: int = 50,
        cg_iterations: int = 5,
        non_negative: bool = False,
        rtol: float = 5e-3,
        rho: float = 0.3,
        relaxation: float = 1.6,
        noise_level: float = 0.0,
    ) -> None:
        check_matched(A)
        expect(lam >= 0, "lam", lam, "a number of at least 0")
        expect(iterations >= 1, "iterations", iterations, "at least 1")
        expect(cg_iterations >= 1, "cg_iterations", cg_iterations, "at least 1")
        expect(rtol >= 0, "rtol", rtol, "a number of at least 0")
        expect(rho > 0, "rho", rho, "a positive number")
        expect(0 < relaxation < 2, "relaxation", relaxation, "a number above 0 and below 2")
        expect(noise_level >= 0, "noise_level", noise_level, "a number of at least 0")
        self.A = A
        self.lam = lam
        self.iterations = iterations
        self.cg_iterations = cg_iterations
        self.non_negative = non_negative
        self.rtol = rtol
        self.rho = rho
        self.relaxation = relaxation
        self.noise_level = noise_level

    def __call__(self, y: torch.Tensor, x0: torch.Tensor | None = None) -> torch.Tensor:
        """Reconstruct from y. Several volumes are solved one by one: none changes another's result.

        Args:
            y: (..., *A.range_shape), real; computed in float32 unless it is float64.
            x0: the start, (..., *A.domain_shape); default zeros; not modified. The minimum does not depend on it.

        Returns:
            (..., *A.domain_shape).

        Raises:
            InputError: a complex tensor.
        """
        y = real_tensor(y, "y")
        x0 = None if x0 is None else real_tensor(x0, "x0").to(y)
        weight = voxel_weight(self.A, y)
        backprojection = self.A.T(y) / weight
        start = torch.zeros_like(backprojection) if x0 is None else x0.expand_as(backprojection)
        volumes = zip(*(t.reshape(-1, *self.A.domain_shape) for t in (backprojection, start)), strict=True)
        return torch.stack([self._solve(*volume, weight) for volume in volumes]).reshape(backprojection.shape)

    def _solve(self, b: torch.Tensor, x: torch.Tensor, weight: float) -> torch.Tensor:
        """One volume of the problem divided by w: b is Aᵀy / w."""
        terms = _DifferencesAndValue(b.shape) if self.non_negative else Differences(b.shape)
        lam, axes = max(self.lam, NOISE_SHARE * self.noise_level / weight**0.5), len(self.A.domain_shape)

        def proximal(v: torch.Tensor, t: float) -> torch.Tensor:
            """Shrinks the differences, and clips the values, which are one more map where there are constraints."""
            return torch.cat([shrink_length(v[:axes], lam * t), v[axes:].clamp_min(0)])

        admm = ADMM(terms, proximal, rho=self.rho, relaxation=self.relaxation)
        solver = partial(conjugate_gradient, iterations=self.cg_iterations)
        for _ in range(self.iterations):
            x = admm.solve(lambda p: self.A.normal(p) / weight, b, x, solver)
            primal, dual = admm.split(x)
            if max(primal, dual) < self.rtol:
                break
            if primal > 10 * dual:
                admm.rescale(2)
            elif dual > 10 * primal:
                admm.rescale(0.5)
        return x.clamp_min(0) if self.non_negative else x


class _DifferencesAndValue(LinearOperator):
    """x to (D x, x), for the penalty and the constraint."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.differences = Differences(shape)
        self.domain_shape, self.range_shape = tuple(shape), (len(shape) + 1, *shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.differences.forward(x), x[:, None]], 1)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self.differences.adjoint(y[:, :-1]) + y[:, -1]
