# SPDX-License-Identifier: Apache-2.0
"""Consistency with the measurement: where the scanner's operator meets the prior's estimate."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import InputError
from monai_iscs.operators import GaussianSmoothing, LinearOperator
from monai_iscs.scans import NoiseLevel
from monai_iscs.solvers import SIRT, Discrepancy, conjugate_gradient


def smoothing_along(operator: LinearOperator, width: float, axis: int = 0) -> LinearOperator | None:
    """Smoothing along an axis, as wide as what the scanner tells apart there.

    Where slices are thinner than the distance of the measurement's samples across them, only a few slices meet each
    ray: a correction that follows the rays alone differs from slice to slice and writes the sampling pattern into the
    volume. Neighbouring slices need alike corrections wherever their errors are alike, as they are with alike noise.
    In the plane of the slices the same holds for thick slices that cross it: their corrections are blocks otherwise.

    Args:
        operator: the scanner of a stack (S, C, H, W).
        width: standard deviation of the Gaussian, in units of `operator.resolution` along the axis.
        axis: 0 for across slices, 2 and 3 for the axes of their plane.

    Returns:
        S of the correction `S u`, or None: no width, or a scanner without resolution.
    """
    if width < 0:
        raise InputError(f"smoothing is {width}, expected a width of at least 0")
    if width == 0 or operator.resolution is None:
        return None
    return GaussianSmoothing(operator.domain_shape, std=width * operator.resolution[axis], axis=axis)


class DDS:
    """Decomposed diffusion sampling (Chung et al., 2024; ISCS Eq. 15-16).

    Without `gamma` the normal equations `AᵀA x = Aᵀy` are iterated from x0; the few iterations are what keeps x
    near x0 (the released code). With `gamma` the proximal system `(gamma AᵀA + I) x = gamma Aᵀy + x0` is solved.
    With `noise_level` the iterations stop where x explains the measurement up to its noise: the discrepancy principle
    (Morozov 1966; for conjugate gradients Hanke 1995), for what lies beyond would draw the noise into x.

    Args:
        operator: the scanner A, with a matched adjoint.
        measurement: y, (..., *operator.range_shape). Aᵀy is computed once, here.
        iterations: conjugate gradient iterations in each step.
        gamma: weight of the measurement against the prior's estimate (a number, or a function of sigma), or None.
        noise_level: root mean square of the measurement's noise, or a function that tells it from measurement and
            operator, as `estimate_noise_level`; 0 makes all iterations. Either this or `gamma`.
        smoothing: width across slices to which the correction of x0 is bound, see `smoothing_along`; 0 leaves it free.
            It preconditions the iterations: they stay in `x0 + S u`.
        plane_smoothing: the same along the axes of the slices' plane whose samples are farther apart than the voxels.
        batch_dims: leading dimensions of the estimate whose systems are solved each with its own step lengths;
            1 for an operator that acts slice by slice on a stack (S, C, H, W), 0 for one system.
        rtol: stop when the residual has fallen below this share of the right-hand side; 0 does all iterations.
        allow_unmatched: accept an operator whose `T` is not its exact adjoint; conjugate gradients may then diverge.

    Raises:
        InputError: an unmatched operator that is not allowed, fewer than one iteration, a negative smoothing or
            noise level, a noise level where it has no meaning, with `gamma` or `batch_dims`, or a complex measurement.
    """

    def __init__(
        self,
        operator: LinearOperator,
        measurement: Tensor,
        *,
        iterations: int = 10,
        gamma: float | Callable[[float], float] | None = None,
        noise_level: NoiseLevel = 0.0,
        smoothing: float = 0.0,
        plane_smoothing: float = 0.0,
        batch_dims: int = 0,
        rtol: float = 0.0,
        allow_unmatched: bool = False,
    ) -> None:
        if not (operator.matched or allow_unmatched):
            raise InputError(
                f"{operator.name} has an adjoint that does not match it (matched = False), expected a "
                "matched one: conjugate gradients need it (allow_unmatched=True insists)"
            )
        if iterations < 1:
            raise InputError(f"iterations is {iterations}, expected at least 1")
        self._discrepancy = Discrepancy(operator, measurement, noise_level)
        if self._discrepancy.norm and (gamma is not None or batch_dims):
            raise InputError("noise_level is given, expected neither gamma nor batch_dims with it")
        self.operator = operator
        self.iterations = iterations
        self.gamma = gamma
        self.batch_dims = batch_dims
        self.rtol = rtol
        widths = {0: smoothing}
        if plane_smoothing and operator.resolution is not None:
            widths |= {axis: plane_smoothing for axis in (2, 3) if operator.resolution[axis] > 1}
        smoothers = [smoothing_along(operator, width, axis) for axis, width in widths.items()]
        self._smoothers = [smoother for smoother in smoothers if smoother is not None]
        self._backprojection = operator.T(measurement)

    def __call__(self, x0: Tensor, sigma: float) -> Tensor:
        """Return the estimate after the consistency step, shaped like `x0`."""
        x0 = real_tensor(x0, "x0")
        if self.gamma is None:
            system, right_side = self.operator.normal, self._backprojection
        else:
            gamma = self.gamma(sigma) if callable(self.gamma) else self.gamma
            right_side = gamma * self._backprojection + x0

            def system(x: Tensor) -> Tensor:
                return gamma * self.operator.normal(x) + x

        return conjugate_gradient(
            system,
            right_side,
            x0,
            iterations=self.iterations,
            rtol=self.rtol,
            enough=self._discrepancy.excess(x0),
            batch_dims=self.batch_dims,
            preconditioner=self._smooth if self._smoothers else None,
        )

    def _smooth(self, residual: Tensor) -> Tensor:
        """S Sᵀ: smoothings along different axes commute."""
        for smoother in self._smoothers:
            residual = smoother.normal(residual)
        return residual


class DDNM:
    """Range-null space decomposition (Wang et al., 2022; ISCS Eq. 14): `x0 + A⁺(y - A x0)`.

    Args:
        operator: the scanner A.
        measurement: y, (..., *operator.range_shape).
        pseudo_inverse: A⁺, a callable from measurements to the operator's domain. None: the operator's own if it knows
            it exactly, else `SIRT(operator, ...)`, as in the paper; unlike conjugate gradients SIRT stands an adjoint
            that is not exact.
        iterations: most SIRT iterations in each step.
        rtol: SIRT stops when its relative residual changes by less than this in one iteration.
        noise_level: as in `DDS`: SIRT stops where the residual is the noise's, and the correction by an exact A⁺ is
            shortened to end there (where `A A⁺` is the identity, as for thick slices).
        smoothing: as in `DDS`: the correction is `S (A S)⁺ (y - A x0)`. Only without a `pseudo_inverse`.

    Raises:
        InputError: a negative smoothing or noise level, a smoothing with a pseudo-inverse that it cannot change, or a
            complex measurement.
    """

    def __init__(
        self,
        operator: LinearOperator,
        measurement: Tensor,
        *,
        pseudo_inverse: Callable[[Tensor], Tensor] | None = None,
        iterations: int = 100,
        rtol: float = 1e-3,
        noise_level: NoiseLevel = 0.0,
        smoothing: float = 0.0,
    ) -> None:
        if smoothing and pseudo_inverse is not None:
            raise InputError(f"smoothing is {smoothing} and pseudo_inverse is given, expected one of them")
        self.operator = operator
        self.measurement = real_tensor(measurement, "measurement")
        self._discrepancy = Discrepancy(operator, measurement, noise_level)
        self._smoother = smoothing_along(operator, smoothing)
        if self._smoother is None:
            pseudo_inverse = pseudo_inverse or operator.pseudo_inverse
        seen = operator if self._smoother is None else operator @ self._smoother
        self.pseudo_inverse = pseudo_inverse or SIRT(seen, iterations=iterations, rtol=rtol)

    def __call__(self, x0: Tensor, sigma: float) -> Tensor:
        """Return the estimate after the consistency step, shaped like `x0`."""
        x0 = real_tensor(x0, "x0")
        residual = self.measurement - self.operator(x0)
        noise_share = self._discrepancy.share(residual)
        if noise_share >= 1:
            return x0
        if isinstance(self.pseudo_inverse, SIRT):
            correction = self.pseudo_inverse(residual, stop_residual=noise_share or None)
        else:
            correction = (1 - noise_share) * self.pseudo_inverse(residual)
        return x0 + (correction if self._smoother is None else self._smoother(correction))
