# SPDX-License-Identifier: Apache-2.0
"""Three slices at a time, in changing groups."""

from __future__ import annotations

import math

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ForeignOperator
from monai_iscs.priors import ConditionedDenoiser, EDMDenoiser, Triplets
from monai_iscs.priors.triplets import partition
from monai_iscs.randomness import random_stream
from monai_iscs.scans import Measurement

SPACING = 2.5


class Network:
    """Returns the slices that it gets, and records them with their condition."""

    in_channels = 4

    def __init__(self):
        self.seen = []

    def __call__(self, x, sigma):
        self.seen.append((x[:, :3, 0, 0].clone(), x[:, 3].clone()))
        return x[:, :3]


def bind(network, prior=None, slices=20, channels=1):
    shape = (4, 6, slices)
    operator = ForeignOperator((torch.clone, torch.clone), domain_shape=shape, range_shape=shape)
    measurement = Measurement(torch.zeros(channels, *shape), operator, Grid.centered(shape, (1.0, 1.0, SPACING)))
    return (prior or Triplets()).bind({"prior": network}, measurement, random_stream(0, "prior"))


@pytest.mark.parametrize("jump", [1, 2, 3, 5])
@pytest.mark.parametrize("slices", [3, 4, 5, 8, 9, 10, 26, 27])
def test_groups_cover_all_slices(slices, jump):
    for offset in range(3 * jump):
        groups = list(partition(slices, jump, offset))
        assert set().union(*groups) == set(range(slices))
        for first, second, third in groups:
            assert second - first == third - second
            assert second - first in {1, jump}
        whole = [group for group in groups if group[1] - group[0] == jump]
        assert len(whole) >= (slices - 3 * jump + 1) // (3 * jump) * jump


def test_every_boundary_between_slices_is_inside_some_group():
    """Else neighbours would never be denoised together."""
    together = {pair for offset in range(3) for a, b, c in partition(20, 1, offset) for pair in ((a, b), (b, c))}
    assert together == {(i, i + 1) for i in range(19)}


def test_the_network_sees_groups_and_their_distance_in_mm():
    network = Network()
    prior = bind(network)
    volume = torch.arange(20.0).expand(1, 4, 6, 20).contiguous()
    for turn in range(4):
        assert torch.equal(prior(volume, 0.1), volume)
        slices, condition = network.seen[turn]
        strides = slices.diff(dim=1)
        assert torch.equal(strides[:, 0], strides[:, 1])
        torch.testing.assert_close(condition, (strides[:, :1, None] * SPACING).log().expand_as(condition))
        assert (strides == 3).any() == (turn % 2 == 1)
    calls = [len(slices) for slices, _ in network.seen]
    assert max(calls) <= 20 // 3 + 5  # a third of the slices, and the borders


def test_a_prior_whose_slices_depend_on_each_other_beats_one_for_single_slices():
    """The exact denoisers of slices that are all alike: three of them have a third of the noise's variance."""

    class Mean:
        in_channels = 4

        def __call__(self, x, sigma):
            mean = x[:, :3].mean(1, keepdim=True) / (1 + sigma**2 / 3)
            return mean.expand(-1, 3, -1, -1)

    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(1, 4, 6, 1, generator=generator).expand(1, 4, 6, 240)
    noisy = clean + torch.randn(clean.shape, generator=generator)
    error = (bind(Mean(), slices=240)(noisy, 1.0) - clean).square().mean()
    posterior = 1 / (1 + 3)  # variance of a N(0, 1) pixel seen three times with noise of 1
    assert float(error) == pytest.approx(posterior, rel=0.2)
    assert float(error) < 0.6 * 1 / (1 + 1)


def test_a_stopped_run_goes_on_with_the_same_groups():
    volume = torch.arange(20.0).expand(1, 4, 6, 20).contiguous()
    network, other = Network(), Network()
    prior = bind(network)
    prior(volume, 0.1)
    state = prior.state_dict()
    prior(volume, 0.1)
    again = bind(other)
    again.load_state_dict(state)
    again(volume, 0.1)
    assert torch.equal(network.seen[1][0], other.seen[0][0])


def test_what_cannot_be_grouped_is_refused():
    with pytest.raises(InputError, match="jump: found 0, expected a whole number of at least 1"):
        Triplets(jump=0)
    with pytest.raises(InputError, match="measurement: found 2 slices, expected at least 3"):
        bind(Network(), slices=2)
    single = Network()
    single.in_channels = 1
    with pytest.raises(InputError, match="network: found one that takes 1 channels, expected a multiple of 3, and 1"):
        bind(single)
    single.in_channels = 3
    with pytest.raises(InputError, match="network: found one that takes 3 channels, expected a multiple of 3, and 1"):
        bind(single)


def test_two_channels():
    class Pairs(Network):
        in_channels = 7

        def __call__(self, x, sigma):
            assert x.shape[1] == 7
            return 0.5 * x[:, :6]

    volume = torch.rand(2, 4, 6, 11)
    torch.testing.assert_close(bind(Pairs(), slices=11, channels=2)(volume, 0.1), 0.5 * volume)


class Silent(torch.nn.Module):
    """Says that there is nothing to change, and records its input."""

    def forward(self, x, timesteps):
        self.x = x
        return torch.zeros_like(x[:, :-1])


def test_a_condition_reaches_the_network_without_being_scaled():
    network = Silent()
    denoiser = ConditionedDenoiser(network, sigma_data=0.3, conditions=1)
    x = torch.randn(2, 4, 8, 8)
    plain = EDMDenoiser(torch.nn.Identity(), sigma_data=0.3)
    found = denoiser(x, 0.2)
    torch.testing.assert_close(found, x[:, :3] * 0.3**2 / (0.2**2 + 0.3**2))
    assert torch.equal(network.x[:, 3:], x[:, 3:])
    assert torch.equal(network.x[:, :3], plain.network_inputs(x[:, :3], 0.2)[0])
    target = denoiser.network_target(x, torch.zeros(2, 3, 8, 8), 0.2)
    assert torch.equal(target, plain.network_target(x[:, :3], torch.zeros(2, 3, 8, 8), 0.2))
    with pytest.raises(InputError, match="conditions: found 0, expected at least 1 channel"):
        ConditionedDenoiser(network, sigma_data=0.3, conditions=0)


def test_the_logarithm_is_of_mm():
    network = Network()
    bind(network, Triplets(jump=1), slices=3)(torch.rand(1, 4, 6, 3), 0.1)
    assert float(network.seen[0][1].max()) == pytest.approx(math.log(SPACING))
