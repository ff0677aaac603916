# SPDX-License-Identifier: Apache-2.0
"""If scanner and consistency work slice by slice, the correlation between slices cannot change a single slice's law.

Volumes are (R, S, H, W): their slices are along axis 0, the R channels are repetitions with the same truth and other
noise.
"""

from __future__ import annotations

import pytest
import torch

from monai_iscs.operators import ForeignOperator
from monai_iscs.sampling import (
    DDS,
    ConjugateGradient,
    DDIMRule,
    DDSRule,
    IdenticalNoise,
    IndependentNoise,
    KernelNoise,
    SlerpNoise,
    geometric_sigmas,
)
from monai_iscs.scans import Measurement

SLICES, REPETITIONS, SIDE = 6, 1000, 6


def denoiser(x, sigma):
    """Posterior mean for pixels that are N(0, own) or N(1, own): not linear."""
    own = 0.02
    share = torch.sigmoid((x - 0.5) / (sigma**2 + own))
    return (share * sigma**2 + own * x) / (sigma**2 + own)


@pytest.fixture
def truth():
    rows = torch.arange(SIDE)
    discs = [((rows[:, None] - 2.5) ** 2 + (rows - 2.5) ** 2 < radius) for radius in (1, 2, 4, 5, 6, 9)]
    return torch.stack(discs).float().expand(REPETITIONS, -1, -1, -1)


@pytest.fixture
def operator():
    """Fourteen random sums of the pixels of each slice."""
    matrix = torch.rand(14, SIDE**2, generator=torch.Generator().manual_seed(0)) / 4
    shape = (SLICES, SIDE, SIDE)
    return ForeignOperator(
        (lambda x: x.flatten(2) @ matrix.T, lambda y: (y @ matrix).view(-1, *shape)),
        domain_shape=shape,
        range_shape=(SLICES, 14),
        batched=True,
    )


@pytest.mark.parametrize("rule", [DDSRule(1.0), DDIMRule(0.8)], ids=str)
@pytest.mark.parametrize("per_slice", [True, False], ids=["per slice", "converged"])
def test_in_plane_psnr_is_the_same_for_every_noise(truth, operator, walk, own_steps, rule, per_slice):
    consistency = DDS(solver=own_steps(3)) if per_slice else DDS(solver=ConjugateGradient(iterations=20), gamma=1.0)
    dds = consistency.bind(Measurement(operator(truth), operator), 0)
    sigmas = geometric_sigmas(6, sigma_max=2, sigma_min=0.1)
    psnr, difference = {}, {}
    for noise in (IndependentNoise(), IdenticalNoise(), SlerpNoise(), KernelNoise()):
        found = walk(denoiser, dds, noise, sigmas, torch.zeros_like(truth), rule=rule)
        psnr[type(noise)] = (-10 * (found - truth).square().mean((2, 3)).log10()).mean(1).double()
        error = found - truth
        difference[type(noise)] = float(error.diff(dim=1).square().mean().sqrt())
    for correlated in (IdenticalNoise, SlerpNoise, KernelNoise):
        gaps = psnr[correlated] - psnr[IndependentNoise]
        standard_error = float(gaps.std()) / REPETITIONS**0.5
        assert standard_error < 0.15
        assert abs(float(gaps.mean())) < 3.5 * standard_error
        assert difference[correlated] < 0.9 * difference[IndependentNoise]


def test_with_shared_step_lengths_the_slices_are_coupled(truth, operator, own_steps):
    # a counter-example without the invariance: one truncated system for the whole volume
    y = operator(truth)
    changed = y.clone()
    changed[:, 0] += 1
    shared, own = (
        [
            DDS(solver=solver).bind(Measurement(v, operator), 0)(torch.zeros_like(truth), 1.0)[:, 1:]
            for v in (y, changed)
        ]
        for solver in (ConjugateGradient(iterations=3), own_steps(3))
    )
    assert not torch.allclose(*shared, atol=1e-3)
    assert torch.equal(*own)
