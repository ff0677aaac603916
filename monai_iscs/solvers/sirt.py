# SPDX-License-Identifier: Apache-2.0
"""The simultaneous iterative reconstruction technique."""

from __future__ import annotations

import torch

from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import InputError, expect
from monai_iscs.operators.linear_operator import LinearOperator

ROUNDING = 1e-4  # of the largest row sum: rounding alone makes no row more negative


class SIRT:
    """x ← x + λ C Aᵀ R (y − A x), R and C the inverse row and column sums of A (Gregor and Benson 2008).

    It converges to a least-squares solution in the norm weighted by R; started from zero, to the one of least norm
    weighted by C⁻¹. DDNM (Eq. 14) uses it as the pseudo-inverse A†. A's entries must not be negative: a row that sums
    to less than 0 is refused.

    Args:
        A: the operator; a scalar factor cancels.
        iterations: at most this many.
        relaxation: λ in (0, 2).
        non_negative: clip x at 0 after each iteration (no longer linear in y).
        rtol: stop when the relative residual ‖A x − y‖ / ‖y‖ changes by less than this in one iteration; 0: never.
        stop_residual: stop when the relative residual is below this, the noise's share of y (discrepancy principle,
            Morozov 1966): further iterations would fit the noise. 0: never.
    """

    def __init__(
        self,
        A: LinearOperator,
        *,
        iterations: int = 100,
        relaxation: float = 1.0,
        non_negative: bool = False,
        rtol: float = 1e-3,
        stop_residual: float = 0.0,
    ) -> None:
        expect(iterations >= 1, "iterations", iterations, "at least 1")
        expect(0 < relaxation < 2, "relaxation", relaxation, "a number above 0 and below 2")
        expect(not rtol < 0, "rtol", rtol, "a number of at least 0")
        expect(not stop_residual < 0, "stop_residual", stop_residual, "a number of at least 0")
        self.A = A
        self.iterations = iterations
        self.relaxation = relaxation
        self.non_negative = non_negative
        self.rtol = rtol
        self.stop_residual = stop_residual
        self._weights: tuple[torch.Tensor, torch.Tensor] | None = None

    def __call__(
        self, y: torch.Tensor, x0: torch.Tensor | None = None, *, stop_residual: float | None = None
    ) -> torch.Tensor:
        """Reconstruct from y.

        Args:
            y: (..., *A.range_shape), real; computed in float32 unless it is float64.
            x0: the start, (..., *A.domain_shape); default zeros; not modified.
            stop_residual: overrides the constructor's.

        Returns:
            (..., *A.domain_shape).

        Raises:
            InputError: a complex tensor, or an A with negative entries.
        """
        y = real_tensor(y, "y")
        x0 = None if x0 is None else real_tensor(x0, "x0").to(y)
        R, C = self._inverse_sums(y)
        residual = y if x0 is None else y - self.A(x0)
        batch = y.shape[: y.dim() - len(self.A.range_shape)]
        x = y.new_zeros((*batch, *self.A.domain_shape)) if x0 is None else x0
        stop_residual = self.stop_residual if stop_residual is None else stop_residual
        watched = self.rtol > 0 or stop_residual > 0  # else nothing waits for the device
        scale = y.norm().clamp_min(torch.finfo(y.dtype).tiny)
        before = residual.norm() / scale
        for iteration in range(self.iterations):
            if iteration:
                residual = y - self.A(x)
                if watched:
                    after = residual.norm() / scale
                    if after < stop_residual or (before - after).abs() < self.rtol:
                        break
                    before = after
            x = x + self.relaxation * C * self.A.T(R * residual)
            if self.non_negative:
                x = x.clamp_min(0)
        return x

    def _inverse_sums(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """1 / row sums and 1 / column sums (0 for rays and voxels that meet nothing), computed once."""
        if self._weights is None or self._weights[0].device != like.device or self._weights[0].dtype != like.dtype:
            rows = self.A(like.new_ones(self.A.domain_shape))
            columns = self.A.T(like.new_ones(self.A.range_shape))
            if float(rows.min()) < -ROUNDING * float(rows.abs().max()):
                raise InputError(
                    f"operator: found rows of {self.A.name} that sum to {float(rows.min()):.3g}, expected entries "
                    "of at least 0: SIRT weights rays and voxels by their sums"
                )
            self._weights = tuple(torch.where(s > 0, 1 / torch.where(s > 0, s, 1.0), 0.0) for s in (rows, columns))
        return self._weights
