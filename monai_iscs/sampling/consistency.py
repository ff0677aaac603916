# SPDX-License-Identifier: Apache-2.0
"""Consistency with the measurement: where the scanner's operator meets the prior's estimate."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.operators import SIRT, LinearOperator, conjugate_gradient


class DDS:
    """Decomposed diffusion sampling (Chung et al., 2024; ISCS Eq. 15-16).

    Without `gamma` the normal equations `AᵀA x = Aᵀy` are iterated from x0; the few iterations are what keeps x
    near x0 (the released code). With `gamma` the proximal system `(gamma AᵀA + I) x = gamma Aᵀy + x0` is solved.

    Args:
        operator: the scanner A, with a matched adjoint.
        measurement: y, (..., *operator.range_shape). Aᵀy is computed once, here.
        iterations: conjugate gradient iterations in each step.
        gamma: weight of the measurement against the prior's estimate (a number, or a function of sigma), or None.
        batch_dims: leading dimensions of the estimate whose systems are solved each with its own step lengths;
            1 for an operator that acts slice by slice on a stack (S, C, H, W), 0 for one system.
        rtol: stop when the residual has fallen below this share of the right-hand side; 0 does all iterations.
        allow_unmatched: accept an operator whose `T` is not its exact adjoint; conjugate gradients may then diverge.

    Raises:
        InputError: an unmatched operator that is not allowed, or fewer than one iteration.
    """

    def __init__(
        self,
        operator: LinearOperator,
        measurement: Tensor,
        *,
        iterations: int = 10,
        gamma: float | Callable[[float], float] | None = None,
        batch_dims: int = 0,
        rtol: float = 0.0,
        allow_unmatched: bool = False,
    ) -> None:
        if not (operator.matched or allow_unmatched):
            raise InputError(
                f"{type(operator).__name__} has an adjoint that does not match it (matched = False), expected a "
                "matched one: conjugate gradients need it (allow_unmatched=True insists)"
            )
        if iterations < 1:
            raise InputError(f"iterations is {iterations}, expected at least 1")
        self.operator = operator
        self.iterations = iterations
        self.gamma = gamma
        self.batch_dims = batch_dims
        self.rtol = rtol
        self._backprojection = operator.T(measurement)

    def __call__(self, x0: Tensor, sigma: float) -> Tensor:
        """Return the estimate after the consistency step, shaped like `x0`."""
        if self.gamma is None:
            system, right_side = self.operator.normal, self._backprojection
        else:
            gamma = self.gamma(sigma) if callable(self.gamma) else self.gamma
            right_side = gamma * self._backprojection + x0

            def system(x: Tensor) -> Tensor:
                return gamma * self.operator.normal(x) + x

        return conjugate_gradient(
            system, right_side, x0, iterations=self.iterations, rtol=self.rtol, batch_dims=self.batch_dims
        )


class DDNM:
    """Range-null space decomposition (Wang et al., 2022; ISCS Eq. 14): `x0 + A⁺(y - A x0)`.

    Args:
        operator: the scanner A.
        measurement: y, (..., *operator.range_shape).
        pseudo_inverse: A⁺, a callable from measurements to the operator's domain. None: `SIRT(operator, ...)`, as in
            the paper; unlike conjugate gradients it stands an adjoint that is not exact.
        iterations: most SIRT iterations in each step.
        rtol: SIRT stops when its relative residual changes by less than this in one iteration.
    """

    def __init__(
        self,
        operator: LinearOperator,
        measurement: Tensor,
        *,
        pseudo_inverse: Callable[[Tensor], Tensor] | None = None,
        iterations: int = 100,
        rtol: float = 1e-3,
    ) -> None:
        self.operator = operator
        self.measurement = measurement
        self.pseudo_inverse = pseudo_inverse or SIRT(operator, iterations=iterations, rtol=rtol)

    def __call__(self, x0: Tensor, sigma: float) -> Tensor:
        """Return the estimate after the consistency step, shaped like `x0`."""
        return x0 + self.pseudo_inverse(self.measurement - self.operator(x0))
