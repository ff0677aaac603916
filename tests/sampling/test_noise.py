# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from monai_iscs.errors import InputError
from monai_iscs.randomness import random_stream
from monai_iscs.sampling import IdenticalNoise, IndependentNoise, SlerpNoise, StagedNoise

NOISES = {
    "independent": IndependentNoise,
    "identical": IdenticalNoise,
    "slerp": SlerpNoise,
    "identical steps": lambda **kw: StagedNoise(start=SlerpNoise, steps=IdenticalNoise, **kw),
    "slerp at 30 degrees": lambda **kw: SlerpNoise(anchor_angle=30, **kw),
    "slerp at 175 degrees": lambda **kw: SlerpNoise(anchor_angle=175, **kw),
}


@pytest.fixture(params=NOISES)
def make(request):
    return NOISES[request.param]


def correlation(a, b):
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def test_every_slice_is_standard_normal(make):
    # four moments and Kolmogorov-Smirnov, each within five standard errors (5e-5 for KS) for 128 * 128 pixels
    noise = make(seed=1)(torch.empty(7, 1, 128, 128), 0.5)
    count = 128 * 128
    for slice_ in noise[:, 0].double():
        assert abs(slice_.mean()) < 5 / math.sqrt(count)
        assert abs(slice_.var() - 1) < 5 * math.sqrt(2 / count)
        standardised = (slice_ - slice_.mean()) / slice_.std()
        assert abs((standardised**3).mean()) < 5 * math.sqrt(6 / count)
        assert abs((standardised**4).mean() - 3) < 5 * math.sqrt(24 / count)
        grid = torch.arange(1, count + 1, dtype=torch.float64) / count
        assert (torch.special.ndtr(slice_.flatten().sort().values) - grid).abs().max() < 2.3 / math.sqrt(count)


@pytest.mark.parametrize("slices", [1, 2, 5])
def test_every_pixel_is_standard_normal_over_draws_even_on_tiny_maps(make, slices):
    # channels are independent draws: the exact law, without any help from large numbers of pixels
    draws = 40_000
    noise = make(seed=2)(torch.empty(slices, draws, 1, 3), 0.5).double()
    assert noise.mean(1).abs().max() < 5 / math.sqrt(draws)
    assert (noise.var(1) - 1).abs().max() < 5 * math.sqrt(2 / draws)
    assert ((noise**4).mean(1) - 3).abs().max() < 5 * math.sqrt(96 / draws)
    in_plane = torch.einsum("srp,srq->spq", noise[:, :, 0], noise[:, :, 0]) / draws
    assert (in_plane - torch.eye(3)).abs().max() < 5 * math.sqrt(2 / draws)


def test_slerp_is_equation_11_between_its_own_end_slices():
    stack = SlerpNoise(seed=3)(torch.empty(9, 1, 32, 32), 1.0)[:, 0].double()
    first, last = stack[0], stack[-1]
    omega = torch.acos((first * last).sum() / (first.norm() * last.norm()))
    for index, slice_ in enumerate(stack):
        alpha = index / 8
        expected = (((1 - alpha) * omega).sin() * first + (alpha * omega).sin() * last) / omega.sin()
        torch.testing.assert_close(slice_, expected, atol=1e-5, rtol=0)
    assert abs(omega - math.pi / 2) < 5 / 32


@pytest.mark.parametrize("angle", [1, 30, 90, 150, 179])
def test_slerp_angles_are_built(angle):
    stack = SlerpNoise(seed=4, anchor_angle=angle)(torch.empty(6, 2, 64, 64), 1.0).double()
    for channel in (0, 1):
        maps = stack[:, channel].flatten(1)
        cosines = torch.nn.functional.cosine_similarity(maps[:-1], maps[1:])
        expected = torch.full_like(cosines, math.cos(math.radians(angle) / 5))
        torch.testing.assert_close(cosines, expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(maps.norm(dim=1), maps[0].norm().expand(6), rtol=1e-5, atol=0)


def test_neighbours_correlate_as_the_closed_form_says():
    like = torch.empty(31, 1, 128, 128)
    tolerance = 5 / 128
    slerp = SlerpNoise(seed=5)(like, 1.0)
    assert correlation(slerp[3], slerp[4]) == pytest.approx(math.cos(math.pi / 2 / 30), abs=1e-3)
    assert correlation(slerp[0], slerp[15]) == pytest.approx(math.cos(math.pi / 4), abs=tolerance)
    assert correlation(slerp[0], slerp[30]) == pytest.approx(0, abs=tolerance)
    independent = IndependentNoise(seed=5)(like, 1.0)
    assert correlation(independent[3], independent[4]) == pytest.approx(0, abs=tolerance)
    identical = IdenticalNoise(seed=5)(like, 1.0)
    assert bool((identical == identical[0]).all())


def test_channels_are_independent(make):
    noise = make(seed=6)(torch.empty(3, 2, 128, 128), 1.0)
    assert abs(correlation(noise[:, 0], noise[:, 1])) < 5 / 128


def test_new_anchors_at_each_call(make):
    noise, like = make(seed=7), torch.empty(3, 1, 128, 128)
    assert abs(correlation(noise(like, 1.0), noise(like, 1.0))) < 5 / 128


def test_same_seed_same_noise_and_reset_starts_anew(make):
    like = torch.empty(4, 1, 8, 8)
    noise = make(seed=8)
    first, second = noise(like, 1.0), noise(like, 1.0)
    noise.reset()
    assert torch.equal(noise(like, 1.0), first)
    assert torch.equal(noise(like, 1.0), second)
    assert torch.equal(make(seed=8)(like, 1.0), first)
    assert torch.equal(make(generator=random_stream(8, "noise"))(like, 1.0), first)
    assert not torch.equal(make(seed=9)(like, 1.0), first)
    assert torch.equal(make()(like, 1.0), make(seed=0)(like, 1.0))


def test_type_follows_the_stack(make):
    noise = make(seed=10)
    single = noise(torch.empty(4, 1, 8, 8), 1.0)
    noise.reset()
    double = noise(torch.empty(4, 1, 8, 8, dtype=torch.float64), 1.0)
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single)


def test_the_noise_is_the_same_whatever_the_default_device(make):
    like = torch.empty(5, 1, 8, 8)
    with torch.device("meta"):
        found = make(seed=11)(like, 1.0)
    assert torch.equal(found, make(seed=11)(like, 1.0))


def test_the_noise_is_the_same_on_every_device(make):
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    like = torch.empty(16, 1, 64, 64)
    torch.testing.assert_close(make(seed=11)(like.cuda(), 1.0).cpu(), make(seed=11)(like, 1.0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("anchor_angle", [None, 60])
def test_slerp_without_an_orthogonal_direction_repeats_its_anchor(anchor_angle):
    # a map of one pixel: two anchors are parallel or opposite
    stack = SlerpNoise(seed=0, anchor_angle=anchor_angle)(torch.empty(5, 1000, 1, 1), 1.0)
    assert bool((stack == stack[0]).all())
    assert float(stack.std()) == pytest.approx(1, abs=0.1)


def test_slerp_needs_two_anchors_besides_its_stack():
    slices, height, width = 64, 128, 128
    noise, like = SlerpNoise(seed=0), torch.empty(slices, 1, height, width)
    noise(like, 1.0)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        noise(like, 1.0)
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


def test_seed_and_generator_exclude_each_other(make):
    with pytest.raises(InputError, match="seed 1 and a generator"):
        make(seed=1, generator=torch.Generator())


def test_staged_noise_starts_with_one_kind_and_goes_on_with_the_other():
    noise, like = StagedNoise(start=IndependentNoise, steps=IdenticalNoise, seed=4), torch.empty(3, 1, 8, 8)
    start, step, another = (noise(like, 1.0) for _ in range(3))
    assert abs(correlation(start[0], start[1])) < 0.5
    assert bool((step == step[0]).all())
    assert not torch.equal(step, another)
    torch.testing.assert_close(start, IndependentNoise(seed=4)(like, 1.0))
    noise.reset()
    torch.testing.assert_close(noise(like, 1.0), start)
    torch.testing.assert_close(noise(like, 1.0), step)
