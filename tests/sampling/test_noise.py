# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import FrozenInstanceError
from types import SimpleNamespace

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.randomness import random_stream
from monai_iscs.sampling import (
    AdaptiveNoise,
    Exponential,
    IdenticalNoise,
    IndependentNoise,
    KernelNoise,
    NoNoise,
    PartialNoise,
    SlerpNoise,
    SquaredExponential,
    StagedNoise,
)

NOISES = {
    "independent": IndependentNoise(),
    "identical": IdenticalNoise(),
    "slerp": SlerpNoise(),
    "identical steps": StagedNoise(SlerpNoise(), IdenticalNoise()),
    "slerp at 30 degrees": SlerpNoise(anchor_angle=30),
    "slerp at 175 degrees": SlerpNoise(anchor_angle=175),
    "Matérn": KernelNoise(),
    "squared exponential": KernelNoise(SquaredExponential(3.0), white=0.2),
    "adaptive": AdaptiveNoise(),
}


@pytest.fixture(params=NOISES)
def noise(request):
    return NOISES[request.param]


@pytest.fixture
def stacks(bound):
    """``stacks(noise, (S, C, H, W), seed=)``: a bound noise whose `stack` draws such stacks."""

    def make(noise, shape, **settings):
        slices, channels, *in_plane = shape
        return bound(noise, (channels, slices, *in_plane), **settings)

    return make


@pytest.fixture
def draw(stacks):
    """``draw(noise, (S, C, H, W), seed=)``: its first stack."""
    return lambda noise, shape, **settings: stacks(noise, shape, **settings).stack(0.5)


def correlation(a, b):
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def test_every_slice_is_standard_normal(noise, draw):
    # four moments and Kolmogorov-Smirnov, each within five standard errors (5e-5 for KS) for 128 * 128 pixels
    found = draw(noise, (7, 1, 128, 128), seed=1)
    count = 128 * 128
    for slice_ in found[:, 0].double():
        assert abs(slice_.mean()) < 5 / math.sqrt(count)
        assert abs(slice_.var() - 1) < 5 * math.sqrt(2 / count)
        standardised = (slice_ - slice_.mean()) / slice_.std()
        assert abs((standardised**3).mean()) < 5 * math.sqrt(6 / count)
        assert abs((standardised**4).mean() - 3) < 5 * math.sqrt(24 / count)
        grid = torch.arange(1, count + 1, dtype=torch.float64) / count
        assert (torch.special.ndtr(slice_.flatten().sort().values) - grid).abs().max() < 2.3 / math.sqrt(count)


@pytest.mark.parametrize("slices", [1, 2, 5])
def test_every_pixel_is_standard_normal_over_draws_even_on_tiny_maps(noise, draw, slices):
    # channels are independent draws: the exact law, not only for large numbers of pixels
    draws = 40_000
    found = draw(noise, (slices, draws, 1, 3), seed=2).double()
    assert found.mean(1).abs().max() < 5 / math.sqrt(draws)
    assert (found.var(1) - 1).abs().max() < 5 * math.sqrt(2 / draws)
    assert ((found**4).mean(1) - 3).abs().max() < 5 * math.sqrt(96 / draws)
    in_plane = torch.einsum("srp,srq->spq", found[:, :, 0], found[:, :, 0]) / draws
    assert (in_plane - torch.eye(3)).abs().max() < 5 * math.sqrt(2 / draws)


def test_slerp_is_equation_11_between_its_own_end_slices(draw):
    stack = draw(SlerpNoise(), (9, 1, 32, 32), seed=3)[:, 0].double()
    first, last = stack[0], stack[-1]
    omega = torch.acos((first * last).sum() / (first.norm() * last.norm()))
    for index, slice_ in enumerate(stack):
        alpha = index / 8
        expected = (((1 - alpha) * omega).sin() * first + (alpha * omega).sin() * last) / omega.sin()
        torch.testing.assert_close(slice_, expected, atol=1e-5, rtol=0)
    assert abs(omega - math.pi / 2) < 5 / 32


@pytest.mark.parametrize("angle", [1, 30, 90, 150, 179])
def test_slerp_angles_are_built(angle, draw):
    stack = draw(SlerpNoise(anchor_angle=angle), (6, 2, 64, 64), seed=4).double()
    for channel in (0, 1):
        maps = stack[:, channel].flatten(1)
        cosines = torch.nn.functional.cosine_similarity(maps[:-1], maps[1:])
        expected = torch.full_like(cosines, math.cos(math.radians(angle) / 5))
        torch.testing.assert_close(cosines, expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(maps.norm(dim=1), maps[0].norm().expand(6), rtol=1e-5, atol=0)


def test_neighbours_correlate_as_the_closed_form_says(draw):
    shape = (31, 1, 128, 128)
    tolerance = 5 / 128
    slerp = draw(SlerpNoise(), shape, seed=5)
    assert correlation(slerp[3], slerp[4]) == pytest.approx(math.cos(math.pi / 2 / 30), abs=1e-3)
    assert correlation(slerp[0], slerp[15]) == pytest.approx(math.cos(math.pi / 4), abs=tolerance)
    assert correlation(slerp[0], slerp[30]) == pytest.approx(0, abs=tolerance)
    independent = draw(IndependentNoise(), shape, seed=5)
    assert correlation(independent[3], independent[4]) == pytest.approx(0, abs=tolerance)
    identical = draw(IdenticalNoise(), shape, seed=5)
    assert bool((identical == identical[0]).all())


def test_channels_are_independent(noise, draw):
    found = draw(noise, (3, 2, 128, 128), seed=6)
    assert abs(correlation(found[:, 0], found[:, 1])) < 5 / 128


def test_new_anchors_at_each_call(noise, stacks):
    made = stacks(noise, (3, 1, 128, 128), seed=7)
    assert abs(correlation(made.stack(1.0), made.stack(1.0))) < 5 / 128


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_volumes_are_the_slices_along_their_axis(noise, bound, axis):
    shape = [7, 5]
    shape.insert(axis, 4)
    volume, made = (bound(noise, (2, *shape), seed=3, axis=axis) for _ in range(2))
    stack = made.stack(1.0)
    assert stack.shape == (4, 2, 7, 5)
    assert torch.equal(volume(1.0), stack.movedim(0, axis + 1))


def test_slices_know_where_they_are(bound):
    made = bound(SlerpNoise(), (1, 4, 4, 3), axis=2, spacing=2.5)
    assert made.canvas.positions.tolist() == [0.0, 2.5, 5.0]


def test_same_seed_same_noise_and_a_state_is_gone_on_from(noise, bound):
    shape = (1, 4, 8, 8)
    made = bound(noise, shape, seed=8)
    start = made.state_dict()
    first = made(1.0)
    state = made.state_dict()
    second = made(1.0)
    made.load_state_dict(start)
    assert torch.equal(made(1.0), first)
    assert torch.equal(made(1.0), second)
    elsewhere = bound(noise, shape, seed=9)
    elsewhere.load_state_dict(state)
    assert torch.equal(elsewhere(1.0), second)
    assert torch.equal(bound(noise, shape, seed=8)(1.0), first)
    assert not torch.equal(bound(noise, shape, seed=9)(1.0), first)


def test_settings_are_plain_values(noise):
    assert deepcopy(noise) == noise
    assert len({noise, deepcopy(noise)}) == 1
    with pytest.raises(FrozenInstanceError):
        noise.start = noise
    assert SlerpNoise(anchor_angle=30) == SlerpNoise(30) != SlerpNoise()


def test_the_type_can_be_chosen(noise, draw):
    single, double = (draw(noise, (4, 1, 8, 8), seed=10, dtype=dtype) for dtype in (torch.float32, torch.float64))
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single)


def test_the_noise_is_the_same_whatever_the_default_device(noise, draw):
    with torch.device("meta"):
        found = draw(noise, (5, 1, 8, 8), seed=11)
    assert torch.equal(found, draw(noise, (5, 1, 8, 8), seed=11))


def test_the_noise_is_the_same_on_every_device(noise, draw):
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    found, expected = (draw(noise, (16, 1, 64, 64), seed=11, device=device) for device in ("cuda", "cpu"))
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("anchor_angle", [None, 60])
def test_slerp_without_an_orthogonal_direction_repeats_its_anchor(anchor_angle, draw):
    # a map of one pixel: two anchors are parallel or opposite
    stack = draw(SlerpNoise(anchor_angle=anchor_angle), (5, 1000, 1, 1))
    assert bool((stack == stack[0]).all())
    assert float(stack.std()) == pytest.approx(1, abs=0.1)


def test_slerp_needs_two_anchors_besides_its_stack(bound):
    slices, height, width = 64, 128, 128
    noise = bound(SlerpNoise(), (1, height, width, slices), axis=2)
    noise(1.0)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        noise(1.0)
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    one_map = height * width * 4
    assert peak >= slices * one_map
    assert peak <= (slices + 2.2) * one_map


@pytest.mark.parametrize("angle", [0, 180, -10, 270, float("nan")])
def test_impossible_angles_are_refused(angle):
    with pytest.raises(InputError, match="anchor_angle"):
        SlerpNoise(anchor_angle=angle)


def test_other_axes_and_devices_are_refused(noise, bound):
    for axis in (-1, 3, "z"):
        with pytest.raises(InputError, match=f"axis: found {axis!r}"):
            bound(noise, (1, 4, 4, 4), axis=axis)
    with pytest.raises(InputError, match="generator: found one on cuda"):
        noise.bind(Grid.centered((4, 4, 4), (1, 1, 1)), 2, SimpleNamespace(device=torch.device("cuda")))


def test_staged_noise_starts_with_one_kind_and_goes_on_with_the_other(stacks, draw):
    shape = (3, 1, 8, 8)
    noise = stacks(StagedNoise(IndependentNoise(), IdenticalNoise()), shape, seed=4)
    before = noise.state_dict()
    start, step, another = (noise.stack(1.0) for _ in range(3))
    assert abs(correlation(start[0], start[1])) < 0.5
    assert bool((step == step[0]).all())
    assert not torch.equal(step, another)
    torch.testing.assert_close(start, draw(IndependentNoise(), shape, seed=4))
    noise.load_state_dict(before)
    torch.testing.assert_close(noise.stack(1.0), start)
    torch.testing.assert_close(noise.stack(1.0), step)


def test_a_generator_of_one_s_own(noise, bound):
    grid = Grid.centered((4, 8, 8), (1, 1, 1))
    assert torch.equal(noise.bind(grid, 0, random_stream(8, "noise"))(1.0), bound(noise, (1, 4, 8, 8), seed=8)(1.0))


def test_a_share_of_a_noise_is_the_noise_of_the_same_random_numbers_made_smaller(noise, draw):
    shape = (3, 2, 8, 8)
    whole = draw(noise, shape, seed=6)
    assert torch.equal(draw(PartialNoise(noise, 1.0), shape, seed=6), whole)
    torch.testing.assert_close(draw(PartialNoise(noise, 0.25), shape, seed=6), whole / 4)
    assert not draw(PartialNoise(noise, 0.0), shape, seed=6).any()


@pytest.mark.parametrize("injection", [-0.1, 1.1, float("nan")])
def test_a_share_lies_between_none_and_all(injection):
    with pytest.raises(InputError, match="injection: found"):
        PartialNoise(SlerpNoise(), injection)


def test_only_independent_noise_makes_the_errors_of_slices_differ():
    assert NoNoise().aligned
    assert PartialNoise(SlerpNoise(), 0.5).aligned
    assert PartialNoise(IndependentNoise(), 0.0).aligned
    assert not PartialNoise(IndependentNoise(), 0.1).aligned


def test_no_noise_is_zero_and_draws_no_random_numbers(stacks):
    noise = stacks(NoNoise(), (3, 2, 4, 5), seed=2)
    before = noise.state_dict()["generator"]
    drawn = noise.stack(1.0)
    assert drawn.shape == (3, 2, 4, 5)
    assert not drawn.any()
    assert torch.equal(noise.state_dict()["generator"], before)


@pytest.mark.parametrize("width", [0, 2])
def test_adaptive_noise_correlates_where_slices_are_alike(stacks, width):
    """Left half alike, right half different by twice the contrast; each slice stays N(0, 1) in both."""
    noise = AdaptiveNoise(0.1, width, Exponential(5.0))
    estimate = torch.zeros(5, 1, 200, 400)
    estimate[1::2, ..., 200:] = 0.2
    found = stacks(noise, estimate.shape, seed=3).stack(0.5, estimate)[:, 0]
    tolerance = 5 / math.sqrt(200 * 180)
    for first in range(4):
        for columns, likeness in ((slice(180), 1), (slice(220, None), math.exp(-2))):
            near, far = found[first, :, columns], found[first + 1, :, columns]
            assert correlation(near, far) == pytest.approx(math.exp(-1 / 5) * likeness, abs=tolerance)
            assert float(far.var()) == pytest.approx(1, abs=2 * tolerance)
    start = stacks(noise, estimate.shape, seed=3).stack(0.5)[:, 0]
    assert correlation(start[1], start[2]) == pytest.approx(math.exp(-1 / 5), abs=tolerance)


def test_adaptive_noise_sees_the_estimate_that_it_is_added_to():
    seen = []

    class Watching(AdaptiveNoise):
        def stack(self, canvas, sigma):
            seen.append(None if canvas.estimate is None else canvas.estimate.clone())
            return super().stack(canvas, sigma)

    bound = Watching().bind(Grid.centered((4, 5, 6), (1.0, 1.0, 1.0)), 1, random_stream(0, "noise"))
    volume = torch.rand(1, 4, 5, 6)
    bound(0.1)
    bound(0.1, volume)
    assert seen[0] is None
    assert torch.equal(seen[1], volume.movedim(2, 0))
    assert bound.canvas.estimate is None


@pytest.mark.parametrize("settings", [{"contrast": 0.0}, {"width": -1}, {"width": 1.5}])
def test_adaptive_noise_refuses_numbers_out_of_range(settings):
    with pytest.raises(InputError, match=f"{next(iter(settings))}: found"):
        AdaptiveNoise(**settings)
