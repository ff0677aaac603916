# SPDX-License-Identifier: Apache-2.0
"""Consistency steps: they bring the prior's estimate to the measurement."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import Tensor

from monai_iscs.errors import InputError, expect
from monai_iscs.sampling.conjugate_gradient import ConjugateGradient
from monai_iscs.sampling.dual import BoundDual
from monai_iscs.scans import Measurement
from monai_iscs.solvers import SIRT, Discrepancy, check_matched, smoothing_along

BoundConsistency = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class Consistency(ABC):
    """Settings of a consistency step.

    Attributes:
        label: of samplers with it, in tables.
        whiten: whether it is bound to `Measurement.whitened`, else to `Measurement.weighted`.
        stops_at_noise: whether a good result leaves about the noise as its residual.
    """

    label: ClassVar[str]
    whiten: ClassVar[bool] = False
    stops_at_noise: ClassVar[bool] = True

    @abstractmethod
    def bind(self, measurement: Measurement, axis: int) -> BoundConsistency:
        """The step of one reconstruction: `step(x0, sigma) -> x0_hat` on volumes (C, X, Y, Z).

        Args:
            measurement: to fit.
            axis: along which the prior's slices are stacked.
        """

    def smoothed(self, width: float) -> Consistency:
        """The same with corrections that are smoothed across slices by that width; 0: independent slices.

        Raises:
            InputError: a width above 0 for a step without this setting.
        """
        if width:
            raise InputError(f"smoothing: found {width} with {self.label}, expected it with a step that has it")
        return self

    def to_the_noise(self) -> Consistency:
        """The same with regard to the measurement's noise: it stops there, or weighs measurement and prior by it.

        Raises:
            InputError: a step without this setting.
        """
        raise InputError(f"noise_level: found one with {self.label}, expected it with a step that stops at the noise")


@dataclass(frozen=True, kw_only=True)
class DDS(Consistency):
    """Decomposed diffusion sampling (Chung et al., 2024; ISCS Eq. 15-16).

    Without `gamma` the normal equations `AᵀA x = Aᵀy` are iterated from x0; because the iterations are few, x stays
    near x0 (the released code). With `gamma` the proximal system `(gamma AᵀA + I) x = gamma Aᵀy + x0` is solved. With
    `error` it is solved with the gamma that makes x the posterior mean if measurement and x0 have Gaussian errors:
    `gamma = (error sigma / noise level)²`, as in half-quadratic splitting (Zhang et al. 2021, "Plug-and-play image
    restoration with deep denoiser prior", Eq. 6).

    Args:
        solver: the iterations.
        gamma: weight of the measurement against the prior's estimate, above 0, or None.
        discrepancy: stop when x fits the measurement up to its noise, by the discrepancy principle (Morozov 1966; for
            conjugate gradients Hanke 1995): further iterations would fit the noise. Either this or `gamma`.
        error: standard deviation of the error of x0, in units of sigma; smoothing says how it is correlated. A
            measurement without noise is fitted by the iterations of `exact`. Instead of `gamma` and `discrepancy`.
        exact: the iterations for a measurement without noise, if there is an error.
        dual: share, 0 to 1, of the dual variable that is kept from step to step, see `BoundDual`; with an `error`
            not for a measurement without noise.
        whiten: weigh each value by the variance of its noise, see `Measurement.whitened`; else all alike.
        allow_unmatched: accept an operator whose `T` is not its exact adjoint; conjugate gradients may then diverge.

    Raises:
        InputError: two of `gamma`, `discrepancy` and `error`, or a number out of range. When bound: an unmatched
            operator that is not allowed.
    """

    solver: ConjugateGradient = field(default_factory=ConjugateGradient)
    gamma: float | None = None
    discrepancy: bool = False
    error: float | None = None
    exact: ConjugateGradient = field(default_factory=ConjugateGradient)
    dual: float = 0.0
    whiten: bool = False
    allow_unmatched: bool = False
    label = "DDS"

    def __post_init__(self) -> None:
        check_gamma(self.gamma, self.discrepancy)
        expect(self.error is None or self.error > 0, "error", self.error, "above 0")
        if self.error is not None and (self.gamma is not None or self.discrepancy):
            raise InputError(f"error: found {self.error} with gamma or discrepancy, expected one of them")
        expect(0 <= self.dual <= 1, "dual", self.dual, "a share from 0 to 1")

    def bind(self, measurement: Measurement, axis: int) -> BoundConsistency:
        operator, gamma = measurement.operator, self.gamma
        if not self.allow_unmatched:
            check_matched(operator, hint=" (or allow_unmatched=True)")
        discrepancy = Discrepancy(operator, measurement.data, measurement.noise_level if self.discrepancy else 0.0)
        solve = (self.solver if self.error is None else self.exact).bind(operator, axis)
        backprojection = operator.T(measurement.data)
        noise_level = 0.0 if self.error is None else measurement.deviation
        weighted = self.solver.bind_weighted(operator, axis) if noise_level else None

        def proximal(x: Tensor) -> Tensor:
            return gamma * operator.normal(x) + x

        def step(x0: Tensor, sigma: float) -> Tensor:
            if weighted is not None:
                return weighted((self.error * sigma / noise_level) ** 2, backprojection, x0)
            enough = discrepancy.excess(x0)
            if gamma is None:
                return solve(operator.normal, backprojection, x0, enough)
            return solve(proximal, gamma * backprojection + x0, x0, enough)

        met_exactly = self.error is not None and weighted is None
        return BoundDual(step, self.dual) if self.dual and not met_exactly else step

    @property
    def stops_at_noise(self) -> bool:
        return self.error is None

    def smoothed(self, width: float) -> DDS:
        solver, exact = (replace(settings, smoothing=width) for settings in (self.solver, self.exact))
        return replace(self, solver=solver, exact=self.exact if self.error is None else exact)

    def to_the_noise(self) -> DDS:
        return self if self.error is not None else replace(self, discrepancy=True)


@dataclass(frozen=True, kw_only=True)
class DDNM(Consistency):
    """Range-null space decomposition (Wang et al., 2022; ISCS Eq. 14): `x0 + A⁺(y - A x0)`.

    A⁺ is the operator's exact pseudo-inverse if there is one, else SIRT, as in the paper; unlike conjugate gradients,
    SIRT also works with an inexact adjoint.

    Args:
        iterations: most SIRT iterations in each step.
        rtol: SIRT stops when its relative residual changes by less than this in one iteration.
        smoothing: as in `ConjugateGradient`: the correction is `S (A S)⁺ (y - A x0)`, by SIRT.
        discrepancy: as in `DDS`: SIRT stops when the residual is the noise's, and the correction by an exact A⁺ is
            shortened to end there (if `A A⁺` is the identity, as for thick slices).

    Raises:
        InputError: a number out of range.
    """

    iterations: int = 100
    rtol: float = 1e-3
    smoothing: float = 0.0
    discrepancy: bool = False
    label = "DDNM"

    def __post_init__(self) -> None:
        expect(self.iterations >= 1, "iterations", self.iterations, "at least 1")
        expect(self.rtol >= 0, "rtol", self.rtol, "at least 0")
        expect(self.smoothing >= 0, "smoothing", self.smoothing, "at least 0")

    def bind(self, measurement: Measurement, axis: int) -> BoundConsistency:
        operator, y = measurement.operator, measurement.data
        discrepancy = Discrepancy(operator, y, measurement.noise_level if self.discrepancy else 0.0)
        smoother = smoothing_along(operator, self.smoothing, axis)
        exact = operator.pseudo_inverse if smoother is None else None
        seen = operator if smoother is None else operator @ smoother
        sirt = SIRT(seen, iterations=self.iterations, rtol=self.rtol) if exact is None else None

        def step(x0: Tensor, sigma: float) -> Tensor:
            residual = y - operator(x0)
            noise_share = discrepancy.share(residual)
            if noise_share >= 1:
                return x0
            if sirt is None:
                correction = (1 - noise_share) * exact(residual)
            else:
                correction = sirt(residual, stop_residual=noise_share or None)
            return x0 + (correction if smoother is None else smoother(correction))

        return step

    def smoothed(self, width: float) -> DDNM:
        return replace(self, smoothing=width)

    def to_the_noise(self) -> DDNM:
        return replace(self, discrepancy=True)


def check_gamma(gamma: float | None, discrepancy: bool) -> None:
    """Raise an `InputError` for a bad weight, or for both a weight and the discrepancy principle."""
    if gamma is not None and not gamma > 0:
        raise InputError(f"gamma: found {gamma}, expected a number above 0, or None")
    if gamma is not None and discrepancy:
        raise InputError(f"gamma: found {gamma} with discrepancy, expected one of them")
