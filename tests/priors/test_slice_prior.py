# SPDX-License-Identifier: Apache-2.0
"""From volumes to stacks of slices and back."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.operators import ForeignOperator
from monai_iscs.priors import SlicePrior
from monai_iscs.randomness import random_stream
from monai_iscs.scans import Measurement

VOLUME = (5, 7, 3)
IDENTITY = ForeignOperator((torch.clone, torch.clone), domain_shape=VOLUME, range_shape=VOLUME)


class Network:
    """Returns its input, a little darker, and records it."""

    def __init__(self, size_divisor=1, in_channels=None):
        self.size_divisor, self.in_channels = size_divisor, in_channels
        self.seen = []

    def __call__(self, x, sigma):
        self.seen.append((x.clone(), sigma))
        return 0.5 * x


@pytest.fixture
def volume():
    return torch.rand(2, *VOLUME, generator=torch.Generator().manual_seed(0))


def bind(network, prior=None, channels=2, seed=0, **names):
    measurement = Measurement(torch.zeros(channels, *VOLUME), IDENTITY)
    return (prior or SlicePrior()).bind({"prior": network, **names}, measurement, random_stream(seed, "prior"))


PADDED = [(0, (8, 4), (0, 0)), (1, (8, 4), (1, 0)), (2, (8, 8), (1, 0))]  # axis, size, where a slice begins


@pytest.mark.parametrize("divisor", [1, 4])
@pytest.mark.parametrize(("axis", "padded", "corner"), PADDED)
def test_stack_and_back(volume, axis, padded, corner, divisor):
    network = Network(divisor)
    found = bind(network, SlicePrior(axis))(volume, 0.3)
    ((stack, sigma),) = network.seen
    own = tuple(size for i, size in enumerate(VOLUME) if i != axis)
    assert sigma == 0.3
    assert stack.shape == (VOLUME[axis], 2, *(padded if divisor == 4 else own))
    assert found.shape == volume.shape
    assert found.is_contiguous()
    torch.testing.assert_close(found, 0.5 * volume, rtol=0, atol=0)
    top, left = corner if divisor == 4 else (0, 0)
    inside = stack[..., top : top + own[0], left : left + own[1]]
    assert torch.equal(inside, volume.movedim(axis + 1, 0))


def test_slices_are_those_of_the_axis(volume):
    for axis in range(3):
        network = Network()
        bind(network, SlicePrior(axis))(volume, 0.3)
        assert torch.equal(network.seen[0][0][1], volume.select(axis + 1, 1))


@pytest.mark.parametrize("axis", [-1, 3, "z"])
def test_other_axes_are_refused(axis):
    with pytest.raises(InputError, match=f"axis: found {axis!r}, expected 0, 1 or 2"):
        SlicePrior(axis)


@pytest.mark.parametrize("sigma", [0.1, 40.0])
def test_the_border_is_air_with_noise_of_the_level(sigma):
    """As in training: N(0, sigma²), the same map for all slices, another one at each call."""
    network = Network(256)
    shape = (200, 190, 3)
    operator = ForeignOperator((torch.clone, torch.clone), domain_shape=shape, range_shape=shape)
    measurement = Measurement(torch.zeros(2, *shape), operator)
    prior = SlicePrior().bind({"prior": network}, measurement, random_stream(0, "prior"))
    prior(torch.full((2, *shape), 7.0), sigma)
    prior(torch.full((2, *shape), 7.0), sigma)
    inside = torch.zeros(256, 256, dtype=torch.bool)
    inside[28:228, 33:223] = True
    borders = []
    for stack, _ in network.seen:
        assert stack.shape == (3, 2, 256, 256)
        assert bool((stack[..., inside] == 7).all())
        assert bool((stack == stack[0]).all())
        borders.append(stack[0][..., ~inside].double() / sigma)
    count = borders[0].shape[1]
    for border in borders:
        assert border.mean(1).abs().max() < 5 / count**0.5
        assert (border.var(1) - 1).abs().max() < 5 * (2 / count) ** 0.5
        assert ((border**4).mean(1) - 3).abs().max() < 5 * (96 / count) ** 0.5
    pairs = torch.corrcoef(torch.cat(borders))  # channels and calls
    assert (pairs - torch.eye(4)).abs().max() < 5 / count**0.5


def test_nothing_is_drawn_where_nothing_is_padded(volume):
    prior = bind(Network(1))
    before = prior.state_dict()["generator"].clone()
    prior(volume, 0.3)
    assert torch.equal(prior.state_dict()["generator"], before)
    assert torch.equal(bind(Network(1), seed=5)(volume, 0.3), bind(Network(1))(volume, 0.3))


def test_the_volume_that_is_given_stays_as_it_is(volume):
    before = volume.clone()
    for divisor in (1, 4):
        bind(Network(divisor))(volume, 0.3)
        assert torch.equal(volume, before)


def test_the_state_says_where_the_random_numbers_stand(volume):
    network = Network(4)
    prior = bind(network)
    prior(volume, 0.3)
    state = prior.state_dict()
    prior(volume, 0.3)
    elsewhere = bind(network, seed=9)
    elsewhere.load_state_dict(state)
    elsewhere(volume, 0.3)
    first, second, again = (stack for stack, _ in network.seen)
    assert not torch.equal(first, second)
    assert torch.equal(second, again)


def test_networks_are_found_by_name(volume):
    other = Network()
    bind(Network(), SlicePrior(2, "other"), other=other)(volume, 0.3)
    assert len(other.seen) == 1
    with pytest.raises(InputError, match="network: found prior, other, expected one named 'third'"):
        bind(Network(), SlicePrior(2, "third"), other=other)


def test_channels_that_the_network_does_not_take_are_named():
    assert bind(Network(in_channels=2)) is not None
    with pytest.raises(InputError, match="measurement: found 2 channels, expected 1, as in the prior's slices"):
        bind(Network(in_channels=1))


@dataclass(frozen=True)
class Twice(SlicePrior):
    """Gives the network every slice twice."""

    shown = 2

    def ask(self, network, stack, sigma):
        return network(torch.cat([stack, stack], 1), sigma)[:, : stack.shape[1]]


@pytest.mark.parametrize("axis", [0, 2])
def test_a_prior_may_show_its_network_something_else(volume, axis):
    """It only changes the network's input: axis, padding and channels are handled for it."""
    network = Network(4, in_channels=4)
    found = bind(network, Twice(axis))(volume, 0.3)
    assert network.seen[0][0].shape[1:] == (4, 8, (4 if axis == 0 else 8))
    torch.testing.assert_close(found, 0.5 * volume)
    with pytest.raises(InputError, match="measurement: found 2 channels, expected 1, as in the prior's slices"):
        bind(Network(in_channels=2), Twice())
    with pytest.raises(InputError, match="network: found one that takes 3 channels, expected a multiple of 2"):
        bind(Network(in_channels=3), Twice())
