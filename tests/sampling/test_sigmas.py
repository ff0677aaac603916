# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.sampling import Geometric, check_sigmas, geometric_sigmas


def test_levels_have_a_constant_ratio_and_both_ends():
    sigmas = geometric_sigmas(30, sigma_max=5, sigma_min=0.01)
    assert sigmas.dtype == torch.float32
    assert sigmas.shape == (30,)
    torch.testing.assert_close(sigmas[[0, -1]], torch.tensor([5, 0.01]))
    ratios = sigmas[1:] / sigmas[:-1]
    torch.testing.assert_close(ratios, torch.full_like(ratios, (0.01 / 5) ** (1 / 29)))


def test_one_step_is_the_largest_level():
    torch.testing.assert_close(geometric_sigmas(1, sigma_max=378, sigma_min=0.01), torch.tensor([378.0]))


@pytest.mark.parametrize("steps", [0, -3, 2.5, True])
def test_steps_must_be_a_positive_whole_number(steps):
    with pytest.raises(InputError, match=f"steps: found {steps}"):
        geometric_sigmas(steps, sigma_max=5, sigma_min=0.01)
    with pytest.raises(InputError, match=f"steps: found {steps}"):
        Geometric(steps=steps)


@pytest.mark.parametrize(("high", "low"), [(1, 2), (1, 0), (1, -1), (1, 1), (float("inf"), 1), (float("nan"), 1)])
def test_ends_must_be_ordered(high, low):
    with pytest.raises(InputError, match="0 < sigma_min < sigma_max"):
        geometric_sigmas(3, sigma_max=high, sigma_min=low)
    with pytest.raises(InputError, match="0 < last < first"):
        Geometric(first=high, last=low)


def test_the_plug_s_levels_are_those():
    assert Geometric(7, 3.0, 0.1).levels() == geometric_sigmas(7, sigma_max=3, sigma_min=0.1).tolist()
    assert Geometric(1, 3.0, 0.1).levels() == [3.0]


@pytest.mark.parametrize("sigmas", [[], [1, 1], [1, 2], [1, 0], [float("nan")], [float("inf"), 1]])
def test_levels_must_fall(sigmas):
    with pytest.raises(InputError, match="strictly decreasing"):
        check_sigmas(sigmas)
