# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from monai_iscs.errors import InputError
from monai_iscs.metrics import Intervals, body_mask, conformal_factor, coverage


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
def test_the_factor_covers_new_errors_of_the_same_law(level):
    """|normal| / sd: the factor is the normal quantile, and as many new errors are covered, up to sampling error."""
    factor = conformal_factor([normal(40_000).abs()], level)
    assert factor == pytest.approx(stats.norm.ppf((1 + level) / 2), rel=0.02)
    fresh = normal(40_000, seed=1)
    assert coverage(fresh, torch.full_like(fresh, factor)) == pytest.approx(level, abs=5 * 0.5 / 40_000**0.5)


def test_few_scores_are_covered_on_average():
    """With 19 scores the largest one is the 95 % factor: a 20th is at most as large in 19 of 20 cases."""
    trials = normal(500, 20).abs()
    factors = torch.tensor([conformal_factor([row[:19]], 0.95) for row in trials], dtype=torch.float64)
    assert torch.equal(factors, trials[:, :19].amax(1))
    rate = float((trials[:, 19] <= factors).double().mean())
    assert rate == pytest.approx(0.95, abs=5 * (0.05 * 0.95 / 500) ** 0.5)


def test_it_is_the_quantile_of_split_conformal_prediction():
    scores = torch.arange(1, 101).double()
    assert conformal_factor([scores[torch.randperm(100)]], 0.9) == math.ceil(101 * 0.9)


def test_volumes_count_alike():
    """A large volume with small scores does not outvote a small one with large ones."""
    small, large = normal(1000).abs(), 10 * normal(100_000, seed=1).abs()
    factor = conformal_factor([small, large])
    covered = [float((scores <= factor).double().mean()) for scores in (small, large)]
    assert sum(covered) / 2 == pytest.approx(0.95, abs=2e-3)


@pytest.mark.parametrize("scores", [[], [torch.ones(10)], [torch.ones(100), torch.ones(3)]])
def test_too_few_scores_are_refused(scores):
    with pytest.raises(InputError, match=r"scores: found \[.*\], expected at least 19 of each volume"):
        conformal_factor(scores)


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, math.nan])
def test_a_level_is_a_share(level):
    with pytest.raises(InputError, match="level: found"):
        conformal_factor([torch.ones(1000)], level)


def test_half_widths():
    std = normal(1, 12, 10, 8).abs().float()
    plain = Intervals(smoothing=0.0, floor=0.0, factor=2.0).half_width(std, 2)
    torch.testing.assert_close(plain, 2 * std)
    floored = Intervals(smoothing=0.0, floor=3.0, factor=2.0).half_width(std, 2)
    torch.testing.assert_close(floored, 2 * (std.square() + 9).sqrt())
    for axis in range(3):
        smooth = Intervals(smoothing=1.5, floor=0.0).half_width(std, axis)
        inner = tuple({1, 2, 3} - {axis + 1})
        torch.testing.assert_close(smooth.square().mean(inner), std.square().mean(inner))  # variance stays in its slice
        assert float(smooth.std()) < 0.6 * float(std.std())
    spike = torch.zeros(1, 31, 31, 3)
    spike[0, 15, 15, 1] = 1
    variance = Intervals(smoothing=2.0, floor=0.0).half_width(spike, 2).square()[0, :, :, 1]
    places = torch.arange(31.0) - 15
    assert float((variance.sum(1) * places.square()).sum()) == pytest.approx(4.0, rel=0.05)


@pytest.mark.parametrize(
    "numbers",
    [{"smoothing": -1.0}, {"floor": -0.1}, {"factor": 0.0}, {"factor": math.inf}, {"floor": math.nan}, {"factor": "2"}],
)
def test_numbers_out_of_range_are_refused(numbers):
    (name,) = numbers
    with pytest.raises(InputError, match=rf"{name}: found .*, expected a number"):
        Intervals(**{"smoothing": 1.0, "floor": 0.0, "factor": 2.0} | numbers)


def test_a_body_has_its_lungs_and_not_the_table():
    x, y, _ = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in (40, 36, 6)), indexing="ij")
    body = (x / 0.7) ** 2 + (y / 0.6) ** 2 < 1
    volume = torch.where(body, 30.0, -1000.0)
    volume[(x.abs() - 0.3).abs() ** 2 + y**2 < 0.02] = -850.0
    volume[:, -2:] = 100.0  # the table
    assert torch.equal(body_mask(volume[None], -300.0, 2)[0], body)
    with pytest.raises(InputError, match="found no voxel above -300"):
        body_mask(torch.full((1, 4, 4, 4), -1000.0), -300.0, 2)
