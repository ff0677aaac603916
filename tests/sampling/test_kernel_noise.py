# SPDX-License-Identifier: Apache-2.0
"""Noise that forgets over some mm."""

from __future__ import annotations

import math

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.randomness import random_stream
from monai_iscs.sampling import Exponential, KernelNoise, Matern, SquaredExponential

KERNELS = [Exponential(5.0), Matern(5.0), SquaredExponential(5.0), SquaredExponential(500.0)]
# unequal, unordered and twice the same
POSITIONS = torch.tensor([0.0, 1.0, 1.5, 4.0, 12.0, 3.0, 40.0, 40.0], dtype=torch.float64)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("white", [0.0, 0.3, 1.0])
def test_the_factor_has_the_kernels_correlations_and_exact_unit_variance(kernel, white):
    factor = KernelNoise(kernel, white=white).factor(POSITIONS)
    expected = (1 - white) * kernel((POSITIONS[:, None] - POSITIONS).abs())
    expected.fill_diagonal_(1)
    torch.testing.assert_close(factor @ factor.T, expected, rtol=0, atol=1e-8)
    torch.testing.assert_close((factor**2).sum(1), torch.ones(8, dtype=torch.float64), rtol=0, atol=1e-14)


def test_kernels_are_those_of_the_literature():
    distance = torch.tensor([0.0, 2.0, 5.0], dtype=torch.float64)
    root = math.sqrt(3)
    expected = {
        Exponential(5.0): [1, math.exp(-0.4), math.exp(-1)],
        Matern(5.0): [1, (1 + 0.4 * root) * math.exp(-0.4 * root), (1 + root) * math.exp(-root)],
        SquaredExponential(5.0): [1, math.exp(-0.08), math.exp(-0.5)],
    }
    for kernel, values in expected.items():
        torch.testing.assert_close(kernel(distance), torch.tensor(values, dtype=torch.float64))


def bound(noise, spacing, slices=300, seed=0, side=32):
    grid = Grid.centered((side, side, slices), (1.0, 1.0, spacing))
    return noise.bind(grid, 2, random_stream(seed, "noise"))


@pytest.mark.parametrize("spacing", [1.0, 2.5])
def test_its_length_is_in_mm_whatever_the_slices(spacing):
    kernel = Exponential(10.0)
    stack = bound(KernelNoise(kernel), spacing).stack(0.1)[:, 0].flatten(1).double()
    for step in (1, 4, 16):
        products = (stack[step:] * stack[:-step]).mean()
        expected = kernel(torch.tensor(step * spacing, dtype=torch.float64))
        standard_error = 5 * math.sqrt(2 * 10 / spacing / stack.numel())  # neighbours are not independent
        assert abs(float(products - expected)) < standard_error


def test_only_white_noise_is_independent_noise():
    stack = bound(KernelNoise(white=1.0), 1.0).stack(0.1)[:, 0].flatten(1)
    assert abs(float((stack[1:] * stack[:-1]).mean())) < 5 / math.sqrt(stack.numel())
    assert not KernelNoise(white=1.0).aligned
    assert KernelNoise(white=0.9).aligned


def test_a_seed_gives_the_same_noise_again():
    first, again, other = (bound(KernelNoise(), 1.0, 20, seed).stack(0.1) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("length", [0.0, -1.0, math.nan, math.inf])
def test_lengths_that_make_no_sense_are_refused(length):
    with pytest.raises(InputError, match=r"length_mm: found .*, expected a number above 0"):
        Matern(length)


def test_shares_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match=r"white: found 1\.5, expected a share from 0 to 1"):
        KernelNoise(white=1.5)
