# SPDX-License-Identifier: Apache-2.0
"""The intervals that known errors and spreads give."""

from __future__ import annotations

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.metrics import Intervals
from monai_iscs.studies.calibrating import Case, coverages, fit_intervals, left_out_coverages

SHAPE = (1, 64, 60, 12)


def make(seed, *, samples=4, shared=0.0, times=6.0):
    """A patient whose errors are so many times the spread, beside an error that all samples share."""
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.linspace(0, 3, n) + seed for n in SHAPE[1:3])
    spread = (0.02 + 0.015 * (x.sin()[:, None] * (2 * y).cos()))[None, :, :, None].expand(SHAPE)
    std = (spread * torch.randn(samples, *SHAPE, generator=generator)).std(0)
    error = ((times * spread) ** 2 + shared**2).sqrt() * torch.randn(SHAPE, generator=generator)

    def half_width(intervals: Intervals) -> torch.Tensor:
        return intervals.half_width(std, 2).flatten().clamp(min=1e-6)

    return Case(error.flatten(), half_width, float(std.square().mean().sqrt()))


@pytest.mark.parametrize("shared", [0.0, 0.1])
def test_another_patient_is_covered_too(shared):
    cases = {str(seed): make(seed, shared=shared) for seed in range(3)}
    intervals = fit_intervals([cases["0"]])
    found = coverages(cases, intervals)
    assert found["0"] == pytest.approx(0.95, abs=1e-4)
    for seed in ("1", "2"):
        assert found[seed] == pytest.approx(0.95, abs=0.02)
    assert intervals.smoothing > 0  # four samples alone say little of a voxel
    if not shared:
        assert intervals.factor * intervals.smoothing > 0
        assert float(intervals.floor) < 0.02
    for share in left_out_coverages(cases).values():
        assert share == pytest.approx(0.95, abs=0.02)


def test_the_intervals_follow_the_errors():
    """Narrower than one width for all, at the same coverage, because the spread ranks the errors."""
    case = make(0)
    intervals = fit_intervals([case])
    constant = float(case.error.abs().quantile(0.95))
    assert float(case.half_width(intervals).mean()) < 0.95 * constant


def test_a_single_volume_leaves_none_out():
    assert left_out_coverages({"one": make(0)}) == {}


def test_samples_that_do_not_differ_are_refused():
    case = Case(torch.ones(100), lambda intervals: torch.ones(100), 0.0)
    with pytest.raises(InputError, match="samples: found a spread of 0, expected samples that differ"):
        fit_intervals([case])
