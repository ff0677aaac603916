# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.operators import ForeignOperator
from monai_iscs.priors import Mirrored, NonNegative, Overstated, SlicePrior, WrappedPrior
from monai_iscs.randomness import random_stream
from monai_iscs.scans import Measurement

VOLUME = (5, 7, 3)
IDENTITY = ForeignOperator((torch.clone, torch.clone), domain_shape=VOLUME, range_shape=VOLUME)


class Network:
    """Returns its input, and records it."""

    def __init__(self, size_divisor=1):
        self.size_divisor = size_divisor
        self.seen, self.told = [], []

    def __call__(self, x, sigma):
        self.seen.append(x.clone())
        self.told.append(sigma)
        return x


@pytest.fixture
def volume():
    return torch.rand(1, *VOLUME, generator=torch.Generator().manual_seed(0)) - 0.5


def bind(prior, network):
    measurement = Measurement(torch.zeros(1, *VOLUME), IDENTITY)
    return prior.bind({"prior": network}, measurement, random_stream(0, "prior"))


@pytest.mark.parametrize(("axis", "mirror"), [(2, 0), (2, 1), (0, 1), (0, 2), (1, 0), (1, 2)])
def test_every_other_call_is_mirrored_and_mirrored_back(volume, axis, mirror):
    network = Network()
    prior = bind(Mirrored(SlicePrior(axis), mirror), network)
    for turn in range(4):
        assert torch.equal(prior(volume, 0.3), volume)
        expected = volume.flip(mirror + 1) if turn % 2 else volume
        assert torch.equal(network.seen[-1], expected.movedim(axis + 1, 0))


@pytest.mark.parametrize(("axis", "mirror"), [(2, 2), (0, 0), (2, 3), (2, -1), (2, None)])
def test_other_mirrors_are_refused(axis, mirror):
    with pytest.raises(
        InputError, match=f"mirror: found axis {mirror}, expected 0, 1 or 2, but not the slices' {axis}"
    ):
        Mirrored(SlicePrior(axis), mirror)


def test_more_noise_is_told_than_there_is(volume):
    network = Network()
    bind(Overstated(SlicePrior(), 1.5), network)(volume, 0.3)
    assert network.told == [pytest.approx(0.45)]
    assert torch.equal(network.seen[0], volume.movedim(3, 0))
    for factor in (0.5, float("nan")):
        with pytest.raises(InputError, match=f"factor: found {factor}, expected a number of at least 1"):
            Overstated(SlicePrior(), factor)


def test_negative_values_are_kept_out_of_estimates_and_result(volume):
    assert torch.equal(bind(NonNegative(SlicePrior()), Network())(volume, 0.3), volume.clamp(min=0))
    assert NonNegative(SlicePrior()).lower_bound == 0
    assert SlicePrior().lower_bound == -math.inf


NESTED = [
    NonNegative(Mirrored(Overstated(SlicePrior(1), 1.5), mirror=2)),
    Overstated(NonNegative(Mirrored(SlicePrior(1), mirror=2)), 1.5),
    Mirrored(Overstated(NonNegative(SlicePrior(1)), 1.5), mirror=2),
]


@pytest.mark.parametrize("prior", NESTED)
def test_wrappers_go_around_wrappers(prior, volume):
    """All of them work in any order, and the outermost one has the inner axis and bound."""
    assert prior.axis == 1
    assert prior.lower_bound == 0
    network = Network()
    bound = bind(prior, network)
    for turn in range(2):
        assert torch.equal(bound(volume, 0.3), volume.clamp(min=0))
        expected = volume.flip(3) if turn else volume
        assert torch.equal(network.seen[-1], expected.movedim(2, 0))
    assert network.told == [pytest.approx(0.45)] * 2


def test_mirrors_along_two_axes(volume):
    network = Network()
    bound = bind(Mirrored(Mirrored(SlicePrior(2), 0), 1), network)
    for _ in range(2):
        bound(volume, 0.3)
    assert torch.equal(network.seen[1], volume.flip(1, 2).movedim(3, 0))


def test_a_wrapper_of_one_s_own(volume):
    """It only defines a call; axis, bound, turns and state are inherited."""

    @dataclass(frozen=True)
    class Growing(WrappedPrior):
        by: float = 1.0

        def call(self, inner, x, sigma, turn):
            return inner(x, sigma * (1 + self.by * turn))

    network = Network()
    bound = bind(Growing(NonNegative(SlicePrior(0)), by=2.0), network)
    for _ in range(3):
        bound(volume, 0.1)
    assert network.told == pytest.approx([0.1, 0.3, 0.5])
    assert (Growing(NonNegative(SlicePrior(0))).axis, Growing(NonNegative(SlicePrior())).lower_bound) == (0, 0)


@pytest.mark.parametrize("prior", NESTED)
def test_the_state_has_the_turn_and_what_is_inside(prior, volume):
    """Padding draws random numbers: three calls equal one call and two more after loading its state."""
    network = Network(4)
    bound = bind(prior, network)
    bound(volume, 0.3)
    state = bound.state_dict()
    for _ in range(2):
        bound(volume, 0.3)
    elsewhere = bind(prior, network)
    elsewhere(volume, 0.3)
    elsewhere(volume, 0.3)
    elsewhere.load_state_dict(state)
    for _ in range(2):
        elsewhere(volume, 0.3)
    assert torch.equal(torch.stack(network.seen[1:3]), torch.stack(network.seen[-2:]))
    assert not torch.equal(network.seen[1], network.seen[2])


def test_what_is_inside_needs_no_state(volume):
    """A bound prior may be any function."""

    @dataclass(frozen=True)
    class Half(SlicePrior):
        def bind(self, networks, measurement, generator):
            return lambda x, sigma: x / 2

    bound = bind(Mirrored(Half()), Network())
    bound(volume, 0.3)
    state = bound.state_dict()
    assert state == {"turn": 1, "inner": None}
    bound.load_state_dict(state)
    torch.testing.assert_close(bound(volume, 0.3), volume / 2)
