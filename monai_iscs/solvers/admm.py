# SPDX-License-Identifier: Apache-2.0
"""The alternating direction method of multipliers for a measurement and a penalty on a linear map of the image."""

from __future__ import annotations

from collections.abc import Callable

import torch

from monai_iscs.dtypes import computing_dtype
from monai_iscs.errors import InputError
from monai_iscs.operators.linear_operator import LinearOperator

Proximal = Callable[[torch.Tensor, float], torch.Tensor]
Map = Callable[[torch.Tensor], torch.Tensor]
Solver = Callable[[Map, torch.Tensor, torch.Tensor], torch.Tensor]


class ADMM:
    """One volume's state in min_x q(x) + φ(K x), q quadratic: split z ≈ K x and scaled dual u (Boyd et al. 2011, §3.1).

    Args:
        K: the map to which φ applies.
        proximal: `proximal(v, t)`, the proximal map of t · φ.
        rho: penalty ρ on ‖K x − z‖² / 2; `rescale` changes it.
        relaxation: over-relaxation α in (0, 2); 1 is none (§3.4.3).

    Attributes:
        z: the split variable, shaped like K x; None before the first `solve`, which sets it to K x at its start.
        u: the scaled dual variable; None, then zeros, likewise.
        rho: ρ.
    """

    def __init__(self, K: LinearOperator, proximal: Proximal, *, rho: float, relaxation: float = 1.0) -> None:
        if not 0 < relaxation < 2:
            raise InputError(f"relaxation: found {relaxation}, expected a number above 0 and below 2")
        self.K = K
        self.proximal = proximal
        self.rho = rho
        self.relaxation = relaxation
        self.z: torch.Tensor | None = None
        self.u: torch.Tensor | None = None

    def solve(self, normal: Map, right_side: torch.Tensor, x: torch.Tensor, solver: Solver) -> torch.Tensor:
        """Improve x towards (H + ρ KᵀK)⁻¹ (b + ρ Kᵀ(z − u)), the minimum over x of the augmented Lagrangian.

        Args:
            normal: H, the second derivative of q.
            right_side: b, minus the first derivative of q at 0; (*K.domain_shape).
            x: the start.
            solver: `solver(system, right_side, x)` improves x, such as some conjugate gradients.
        """
        if self.z is None:
            self.z = self.K(x)
            self.u = torch.zeros_like(self.z)
        return solver(
            lambda p: normal(p) + self.rho * self.K.normal(p), right_side + self.rho * self.K.T(self.z - self.u), x
        )

    def split(self, x: torch.Tensor) -> tuple[float, float]:
        """Update z and u for x.

        Returns:
            Primal residual ‖K x − z‖ / max(‖K x‖, ‖z‖) and dual residual ‖Kᵀ(z − z_before)‖ / ‖Kᵀu‖: shares, which the
            units of x and of the measurement do not change (Wohlberg 2017).
        """
        Kx, before = self.K(x), self.z
        relaxed = self.relaxation * Kx + (1 - self.relaxation) * before
        self.z = self.proximal(relaxed + self.u, 1 / self.rho)
        self.u = self.u + relaxed - self.z
        tiny = torch.finfo(x.dtype).tiny
        primal = (Kx - self.z).norm() / torch.maximum(Kx.norm(), self.z.norm()).clamp_min(tiny)
        dual = self.K.T(self.z - before).norm() / self.K.T(self.u).norm().clamp_min(tiny)
        return float(primal), float(dual)

    def rescale(self, factor: float) -> None:
        """Multiply ρ; u is divided, so that the multiplier ρ u stays."""
        self.rho *= factor
        self.u = self.u / factor


def voxel_weight(A: LinearOperator, like: torch.Tensor) -> float:
    """Mean squared norm of A's columns: how much the measurement weighs one voxel.

    Estimated as ‖A s‖² / n with random signs s (Hutchinson 1990), always the same ones; exact where columns are
    orthogonal. A penalty multiplied by it has the same effect for any units of the measurement and any number of views.
    ‖A‖² would also grow with the length of the rays: it belongs to the image's mean, while penalties on differences act
    on details, as single voxels are.

    Args:
        A: the operator.
        like: real tensor on the device that A works with; computed in float32, or float64 if it is.

    Raises:
        InputError: A is zero, or `like` is complex.
    """
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, A.domain_shape, generator=generator) * 2 - 1
    signs = signs.to(like.device, computing_dtype(like, "like"))
    weight = float(A(signs).square().sum()) / signs.numel()
    if weight == 0:
        raise InputError(
            f"operator: found {A.name}, which maps everything to zero, expected one that measures something"
        )
    return weight


def check_matched(A: LinearOperator, *, hint: str = "") -> None:
    """Raise an `InputError`, with a hint at its end, if A's adjoint is not exact: conjugate gradients need that."""
    if not A.matched:
        raise InputError(
            f"operator: found {A.name}, whose adjoint does not match it (matched = False), expected one that does: "
            f"conjugate gradients need it{hint}"
        )
