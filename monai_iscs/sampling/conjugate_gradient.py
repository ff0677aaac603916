# SPDX-License-Identifier: Apache-2.0
"""Settings of the conjugate gradients in a consistency step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from monai_iscs.errors import expect
from monai_iscs.operators import LinearOperator, RampFilter
from monai_iscs.solvers import Preconditioner, conjugate_gradient

System = Callable[[Tensor], Tensor]
BoundSolver = Callable[[System, Tensor, Tensor, float], Tensor]
BoundWeightedSolver = Callable[[float, Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class ConjugateGradient:
    """Settings of the conjugate gradients in a step.

    Args:
        iterations: in each step; because they are few, x stays near x0.
        smoothing: width across slices of the correction of x0, see `smoothing_along`; 0: not smoothed. It preconditions
            the iterations: they stay in `x0 + S u`.
        plane_smoothing: the same along the axes of the slices' plane whose samples are farther apart than the voxels.
        ramp: cutoff of the ramp filter with which iterations in computed tomography are preconditioned, as a share of
            the voxels' Nyquist frequency, see `Preconditioner`; 0: without it.
        rtol: stop when the residual is below this share of the right-hand side, which without an error is Aᵀy, and
            with one the first residual; 0: all iterations.

    Raises:
        InputError: fewer than one iteration, a negative width, cutoff or share.
    """

    iterations: int = 10
    smoothing: float = 0.0
    plane_smoothing: float = 0.0
    ramp: float = 0.0
    rtol: float = 0.0

    def __post_init__(self) -> None:
        expect(self.iterations >= 1, "iterations", self.iterations, "at least 1")
        for name in ("smoothing", "plane_smoothing", "ramp", "rtol"):
            expect(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")

    def bind(self, operator: LinearOperator, axis: int) -> BoundSolver:
        """`solve(system, right_side, x0, enough)` on volumes (C, X, Y, Z), see `conjugate_gradient`."""
        precondition = Preconditioner(
            operator, axis, across=self.smoothing, in_plane=self.plane_smoothing, ramp=self.ramp
        )

        def solve(system: System, right_side: Tensor, x0: Tensor, enough: float) -> Tensor:
            return conjugate_gradient(
                system,
                right_side,
                x0,
                iterations=self.iterations,
                rtol=self.rtol,
                enough=enough,
                preconditioner=precondition if precondition.exists else None,
            )

        return solve

    def bind_weighted(self, operator: LinearOperator, axis: int) -> BoundWeightedSolver:
        """`solve(weight, backprojection, x0)`: `x0 + S u` of the least `weight ‖A (x0 + S u) - y‖² + ‖u‖²`.

        S smooths, see `smoothing_along`: it is what is known of the error of x0, whose covariance is S Sᵀ. With `ramp`
        the system `weight Sᵀ AᵀA S + 1` is preconditioned by the inverse of `weight k R⁻¹ + 1`, where k is such that
        both have the same value for the central voxel.
        """
        smooth = Preconditioner(operator, axis, across=self.smoothing, in_plane=self.plane_smoothing, ramp=0.0)
        plane, strength = operator.orbit_plane, 0.0
        known = self.ramp and plane is not None
        ramp = RampFilter(operator.domain_shape, spacing=plane, cutoff=self.ramp) if known else None

        def normal(u: Tensor) -> Tensor:
            return smooth.gather(operator.normal(smooth.spread(u)))

        def central(like: Tensor) -> float:
            u, middle = torch.zeros_like(like[:1]), (0, *(n // 2 for n in operator.domain_shape))
            u[middle] = 1
            return float(normal(u)[middle])

        def solve(weight: float, backprojection: Tensor, x0: Tensor) -> Tensor:
            nonlocal strength
            if ramp is not None and not strength:
                strength = central(x0) / ramp.mean_inverse
            u = conjugate_gradient(
                lambda u: torch.add(u, normal(u), alpha=weight),
                weight * smooth.gather(backprojection - operator.normal(x0)),
                iterations=self.iterations,
                rtol=self.rtol,
                preconditioner=None if ramp is None else lambda r: ramp.regularised(r, weight * strength),
            )
            return x0 + smooth.spread(u)

        return solve
