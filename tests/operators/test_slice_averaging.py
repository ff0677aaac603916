# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.operators import BoxProfile, GaussianProfile, SliceAveraging

PROFILES = [BoxProfile(), BoxProfile(0.6), GaussianProfile(), GaussianProfile(0.7)]


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(params=[2, 5, 2.5, 3.3, 11], ids=lambda factor: f"factor {factor}")
def factor(request) -> float:
    return request.param


@pytest.fixture(params=PROFILES, ids=repr)
def operator(request, factor) -> SliceAveraging:
    """11 slices: only the last factor divides them."""
    return SliceAveraging((3, 4, 11), factor=factor, profile=request.param)


def test_adjoint_is_the_exact_transpose(operator):
    x, y = random(2, *operator.domain_shape), random(2, *operator.range_shape, seed=1)
    torch.testing.assert_close((operator(x) * y).sum(), (x * operator.T(y)).sum())
    assert operator.matched
    assert operator.resolution == (1, 1, operator.factor)


def test_weights_of_a_slice_sum_to_one(operator):
    ones = torch.ones(operator.domain_shape)
    torch.testing.assert_close(operator(ones), torch.ones(operator.range_shape))
    assert float(operator.matrix.min()) >= 0


def test_the_pseudo_inverse_is_moore_and_penrose_s(operator):
    inverse = operator.pseudo_inverse
    x, y = random(*operator.domain_shape), random(*operator.range_shape, seed=1)
    torch.testing.assert_close(operator(inverse(operator(x))), operator(x))
    torch.testing.assert_close(inverse(operator(inverse(y))), inverse(y))
    for square, seen in ((lambda v: inverse(operator(v)), x), (lambda v: operator(inverse(v)), y)):
        other = random(*seen.shape, seed=2)
        torch.testing.assert_close((square(seen) * other).sum(), (seen * square(other)).sum())
    assert (inverse.domain_shape, inverse.range_shape) == (operator.range_shape, operator.domain_shape)


@pytest.mark.parametrize(("slices", "count", "last"), [(10, 2, 5), (11, 3, 1), (13, 3, 3)])
def test_a_last_partial_slice_averages_what_is_there(slices, count, last):
    x = random(3, 4, slices)
    y = SliceAveraging(x.shape, factor=5)(x)
    assert y.shape == (3, 4, count)
    torch.testing.assert_close(y[..., 0], x[..., :5].mean(-1))
    torch.testing.assert_close(y[..., -1], x[..., -last:].mean(-1))


def test_a_voxel_that_two_slices_share_counts_in_both():
    x = random(1, 1, 5)
    y = SliceAveraging(x.shape, factor=2.5)(x)
    torch.testing.assert_close(y[0, 0, 0], (x[0, 0, 0] + x[0, 0, 1] + x[0, 0, 2] / 2) / 2.5)
    torch.testing.assert_close(y[0, 0, 1], (x[0, 0, 2] / 2 + x[0, 0, 3] + x[0, 0, 4]) / 2.5)


def test_a_box_is_undone_by_repeating_its_slices():
    operator = SliceAveraging((2, 2, 12), factor=5)
    y = random(2, 2, 3)
    expected = y.repeat_interleave(torch.tensor([5, 5, 2]), dim=-1)
    torch.testing.assert_close(operator.pseudo_inverse(y), expected)


def test_a_fraction_that_rounding_makes_a_little_too_small_adds_no_slice():
    assert SliceAveraging((1, 1, 48), factor=48 / 10 - 1e-9).range_shape == (1, 1, 10)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_any_axis(axis):
    x = random(6, 6, 6)
    y = SliceAveraging(x.shape, factor=3, axis=axis)(x)
    torch.testing.assert_close(y.movedim(axis, -1), SliceAveraging(x.shape, factor=3)(x.movedim(axis, -1)))


def test_positions_are_the_centres_of_what_is_averaged():
    torch.testing.assert_close(
        SliceAveraging((1, 1, 12), factor=5).positions, torch.tensor([2.0, 7.0, 10.5], dtype=torch.float64)
    )
    gaussian = SliceAveraging((1, 1, 60), factor=5, profile=GaussianProfile()).positions
    torch.testing.assert_close(gaussian[3:-3], torch.arange(17, 43, 5, dtype=torch.float64), atol=1e-6, rtol=0)


def test_profiles():
    """A gap leaves out the space between the slices; a Gaussian is half as sensitive half its width off the centre."""
    weights = SliceAveraging((1, 1, 10), factor=5, profile=BoxProfile(0.6)).matrix[0]
    torch.testing.assert_close(weights[:5], torch.tensor([0, 1, 1, 1, 0], dtype=torch.float64) / 3)
    fine = SliceAveraging((1, 1, 2001), factor=667, profile=GaussianProfile(0.5)).matrix[1]
    half = fine[1000 - 167] / fine[1000]
    assert float(half) == pytest.approx(0.5, abs=2e-3)


def test_any_function_is_a_profile():
    triangle = SliceAveraging((1, 1, 8), factor=4, profile=lambda u: torch.sigmoid(9 * u)).matrix
    torch.testing.assert_close(triangle.sum(1), torch.ones(2, dtype=torch.float64))
    with pytest.raises(InputError, match="profile: found"):
        SliceAveraging((1, 1, 8), factor=4, profile=torch.zeros_like)
    with pytest.raises(InputError, match="grows from 0 to 1"):
        SliceAveraging((1, 1, 8), factor=4, profile=torch.cos)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"factor": 1}, "factor: found 1, expected more than 1 and at most 8"),
        ({"factor": 0.5}, r"factor: found 0\.5"),
        ({"factor": 9}, "factor: found 9, .* at most 8"),
        ({"factor": float("nan")}, "factor: found nan"),
        ({"axis": 3}, "axis: found 3"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        SliceAveraging((4, 4, 8), **({"factor": 2} | settings))


@pytest.mark.parametrize("make", [BoxProfile, GaussianProfile])
@pytest.mark.parametrize("width", [0, -1.0, float("inf"), float("nan")])
def test_impossible_profiles_are_refused(make, width):
    with pytest.raises(InputError, match="expected a number of slice distances above 0"):
        make(width)


def test_a_wrong_shape_is_named():
    with pytest.raises(InputError, match="the input of SliceAveraging: found shape"):
        SliceAveraging((4, 4, 8), factor=2)(torch.rand(4, 4, 9))
    with pytest.raises(InputError, match="the input of SliceAveraging's adjoint: found shape"):
        SliceAveraging((4, 4, 8), factor=2).T(torch.rand(4, 4, 5))
