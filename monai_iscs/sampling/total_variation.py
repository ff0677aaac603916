# SPDX-License-Identifier: Apache-2.0
"""Consistency with the measurement and, by total variation, of the slices with each other."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import Tensor

from monai_iscs.errors import expect
from monai_iscs.operators import Differences, soft_threshold
from monai_iscs.sampling.conjugate_gradient import ConjugateGradient
from monai_iscs.sampling.consistency import Consistency, check_gamma
from monai_iscs.scans import Measurement
from monai_iscs.solvers import ADMM, Discrepancy, check_matched, voxel_weight


@dataclass(frozen=True, kw_only=True)
class DDSTV(Consistency):
    """DDS with total variation across slices (DiffusionMBIR, Chung et al. 2023; DDS, Chung et al. 2024, 3D).

    Each step runs a few iterations of the alternating direction method of multipliers from x0 on

        ‖A x − y‖² / 2 + ‖x − x0‖² / (2 gamma) + λ w ‖D x‖₁,

    where D are the differences of neighbouring slices (first and last are not neighbours) and w = `voxel_weight(A)`, so
    that λ has the unit of x for any units of y and any number of views. Without `gamma` the second term is left out, as
    in the DDS code: the few conjugate gradient iterations keep x near x0. Split and dual variable are kept from step to
    step: one iteration in each step is enough.

    Args:
        lam: λ, in units of x.
        rho: ADMM's penalty ρ / w; λ / ρ is the threshold below which differences of slices count as noise.
        solver: the conjugate gradients of each ADMM iteration.
        admm_iterations: ADMM iterations in each step.
        gamma: weight of the measurement against the prior's estimate, above 0, or None.
        discrepancy: the conjugate gradients stop when the value of their problem has fallen by as much as the
            measurement's misfit exceeds its noise. Unlike in `DDS` the penalty's fall counts too: where x0 differs much
            between slices the measurement is left fitted less closely. Either this or `gamma`.

    Raises:
        InputError: an argument out of range. When bound: an unmatched operator.
    """

    lam: float = 0.003
    rho: float = 0.3
    solver: ConjugateGradient = field(default_factory=ConjugateGradient)
    admm_iterations: int = 1
    gamma: float | None = None
    discrepancy: bool = False
    label = "DDS+TV"

    def __post_init__(self) -> None:
        expect(self.lam >= 0, "lam", self.lam, "at least 0")
        expect(self.rho > 0, "rho", self.rho, "a positive number")
        expect(self.admm_iterations >= 1, "admm_iterations", self.admm_iterations, "at least 1")
        check_gamma(self.gamma, self.discrepancy)

    def bind(self, measurement: Measurement, axis: int) -> BoundDDSTV:
        return BoundDDSTV(self, measurement, axis)

    def smoothed(self, width: float) -> DDSTV:
        return replace(self, solver=replace(self.solver, smoothing=width))

    def to_the_noise(self) -> DDSTV:
        return replace(self, discrepancy=True)


class BoundDDSTV:
    """The step of one volume; it keeps split and dual variable from call to call."""

    def __init__(self, settings: DDSTV, measurement: Measurement, axis: int) -> None:
        operator, y = measurement.operator, measurement.data
        check_matched(operator)
        self.settings, self.operator = settings, operator
        self._discrepancy = Discrepancy(operator, y, measurement.noise_level if settings.discrepancy else 0.0)
        self._conjugate_gradients = settings.solver.bind(operator, axis)
        weight = voxel_weight(operator, y)
        self._admm = ADMM(
            Differences(operator.domain_shape, axes=(axis,)),
            lambda v, t: soft_threshold(v, settings.lam * weight * t),
            rho=settings.rho * weight,
        )
        self._backprojection = operator.T(y)

    def __call__(self, x0: Tensor, sigma: float) -> Tensor:
        """The estimate after the consistency step, shaped like `x0`."""
        near = 0.0 if self.settings.gamma is None else 1 / self.settings.gamma
        right_side = self._backprojection + near * x0
        x = x0
        for _ in range(self.settings.admm_iterations):
            solve = partial(self._conjugate_gradients, enough=self._discrepancy.excess(x))
            x = self._admm.solve(lambda p: self.operator.normal(p) + near * p, right_side, x, solve)
            self._admm.split(x)
        return x

    def state_dict(self) -> dict[str, Any]:
        """The split and the dual variable."""
        return {"z": self._admm.z, "u": self._admm.u}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._admm.z, self._admm.u = state["z"], state["u"]
