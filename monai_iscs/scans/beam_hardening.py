# SPDX-License-Identifier: Apache-2.0
"""Beam hardening in water: line integrals of a polychromatic beam as one energy would have given them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from monai_iscs.errors import expect
from monai_iscs.operators.vectors import finite_numbers

MOST_CHANGE = 10.0  # a beam hardens by much less


def correct_beam_hardening(line_integrals: Tensor, coefficients: Sequence[float]) -> Tensor:
    """p' = c₁ p + c₂ p² + c₃ p³ + …, the polynomial water correction.

    Soft X-rays are absorbed first, so a polychromatic p grows less than a thickness does, and the middle of a body is
    reconstructed too dark (cupping). With coefficients from `fit_water_correction`, p' of a ray through water is
    proportional to its length. Rays through much bone remain too low.

    Args:
        line_integrals: p, of any shape, dimensionless; those of air are 0 and stay so.
        coefficients: c₁, c₂, …; the polynomial rises over all that was measured, from 0 or the lowest p to the
            highest.

    Returns:
        p', as p.

    Raises:
        InputError: coefficients that are not finite, or a polynomial that doesn't rise, or changes the highest line
            integral tenfold.
    """
    coefficients = finite_numbers("beam_hardening", coefficients)
    low, high = min(float(line_integrals.min()), 0.0), float(line_integrals.max())
    slope = np.polynomial.Polynomial((0, *coefficients)).deriv()
    turns = [root.real for root in slope.roots() if abs(root.imag) < 1e-9 and low <= root.real <= high]
    found = f"turns at a line integral of {min(turns, key=abs):.3g}" if turns else "falls"
    expect(
        slope(0) > 0 and not turns,
        "beam_hardening",
        f"a polynomial that {found}",
        f"one that rises from {low:.3g} to {high:.3g}, which was measured",
    )
    times = float(np.polynomial.Polynomial(coefficients)(high))
    expect(
        1 / MOST_CHANGE < times < MOST_CHANGE,
        "beam_hardening",
        f"a polynomial that makes {times * high:.3g} of {high:.3g}, the highest that was measured",
        f"{high / MOST_CHANGE:.3g} to {high * MOST_CHANGE:.3g}: a line integral, and no length in mm",
    )
    result = torch.empty_like(line_integrals)
    for part, into in zip(line_integrals, result, strict=True):  # view by view, as double precision takes much memory
        total = torch.zeros_like(part, dtype=torch.float64)
        for coefficient in reversed(coefficients):
            total = (total + coefficient) * part
        into.copy_(total)
    return result


def fit_water_correction(
    lengths: Sequence[float], line_integrals: Sequence[float], *, water: float = 0.02, degree: int = 4
) -> tuple[float, ...]:
    """Coefficients of `correct_beam_hardening` from a scanner's line integrals of water.

    They are fitted by least squares so that p' = `water` · length. The line integrals are measured (slabs of water or
    of a plastic like it) or computed from a spectrum S(E), which includes the detector's response:
    p = −log(∫ S exp(−μ(E) length) dE / ∫ S dE).

    Args:
        lengths: of the rays in water, mm, rising; up to the thickest body, since a polynomial is good for nothing
            beyond.
        line_integrals: one for each length, rising.
        water: attenuation of water that the corrected line integrals are to have, per mm: `--water`, and 1,000 HU.
        degree: of the polynomial.

    Returns:
        c₁, c₂, …, `degree` of them.

    Raises:
        InputError: lengths or line integrals that are not positive or don't rise, or too few of them.
    """
    expect(water > 0, "water", water, "a positive number per mm")
    expect(degree == int(degree) and degree >= 1, "degree", degree, "a whole number of at least 1")
    given = {"lengths": lengths, "line_integrals": line_integrals}
    length, measured = (np.array(finite_numbers(name, value, positive=True)) for name, value in given.items())
    expect(len(length) >= degree, "lengths", len(length), f"at least {degree}, the polynomial's degree")
    expect(len(measured) == len(length), "line_integrals", len(measured), f"{len(length)}, one for each length")
    for name, values in (("lengths", length), ("line_integrals", measured)):
        expect(bool((np.diff(values) > 0).all()), name, np.array2string(values, threshold=6), "rising numbers")
    powers = np.arange(1, degree + 1)
    scaled = (measured / measured[-1])[:, None] ** powers  # powers of numbers up to 1 are better conditioned
    fitted = np.linalg.lstsq(scaled, water * length, rcond=None)[0]
    return tuple((fitted / measured[-1] ** powers).tolist())
