# SPDX-License-Identifier: Apache-2.0
"""A network that is also shown both neighbours of each slice."""

from __future__ import annotations

import math

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ForeignOperator
from monai_iscs.priors import EDMDenoiser, Mirrored, NeighbourDenoiser, Neighbours
from monai_iscs.randomness import random_stream
from monai_iscs.scans import Measurement

SPACING = 2.5


class Network:
    """Returns what stands before, in or after the slices, and records what it sees."""

    def __init__(self, image=0, channels=1):
        self.image, self.channels, self.seen = image, channels, []
        self.in_channels = 3 * channels + 1

    def __call__(self, x, sigma):
        self.seen.append(x.clone())
        return x[:, self.image * self.channels :][:, : self.channels]


def bind(network, slices=5, channels=1, prior=None):
    shape = (4, 6, slices)
    operator = ForeignOperator((torch.clone, torch.clone), domain_shape=shape, range_shape=shape)
    measurement = Measurement(torch.zeros(channels, *shape), operator, Grid.centered(shape, (1.0, 1.0, SPACING)))
    return (prior or Neighbours()).bind({"prior": network}, measurement, random_stream(0, "prior"))


@pytest.mark.parametrize("channels", [1, 2])
def test_the_network_sees_each_slice_with_its_neighbours_and_their_distance(channels):
    volume = torch.arange(5.0).expand(channels, 4, 6, 5) + 10 * torch.arange(channels)[:, None, None, None]
    for image, expected in enumerate(([0, 1, 2, 3, 4], [1, 0, 1, 2, 3], [1, 2, 3, 4, 3])):
        network = Network(image, channels)
        assert torch.equal(bind(network, channels=channels)(volume, 0.1), volume[..., expected])
        (seen,) = network.seen
        assert seen.shape == (5, 3 * channels + 1, 4, 6)
        torch.testing.assert_close(seen[:, -1], torch.full((5, 4, 6), math.log(SPACING)))


def test_neighbours_are_mirrored_with_the_slices():
    network = Network()
    prior = bind(network, prior=Mirrored(Neighbours(), 0))
    volume = torch.rand(1, 4, 6, 5)
    for _ in range(2):
        assert torch.equal(prior(volume, 0.1), volume)
    torch.testing.assert_close(network.seen[1], network.seen[0].flip(2))


def test_alike_slices_are_estimated_with_a_third_of_the_noise_s_variance():
    class Mean(Network):
        def __call__(self, x, sigma):
            return x[:, :3].mean(1, keepdim=True) / (1 + sigma**2 / 3)

    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(1, 4, 6, 1, generator=generator).expand(1, 4, 6, 200)
    noisy = clean + torch.randn(clean.shape, generator=generator)
    found = bind(Mean(), slices=200)(noisy, 1.0)[..., 1:-1]
    error = (found - clean[..., 1:-1]).square().mean()
    assert float(error) == pytest.approx(1 / (1 + 3), rel=0.2)  # variance of an N(0, 1) pixel seen three times


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="measurement: found 1 slice, expected at least 2"):
        bind(Network(), slices=1)
    single = Network()
    single.in_channels = 1
    with pytest.raises(InputError, match="network: found one that takes 1 channels, expected a multiple of 3, and 1"):
        bind(single)


class Silent(torch.nn.Module):
    """Says that there is nothing to change, and records its input."""

    def forward(self, x, timesteps):
        self.x = x
        return torch.zeros_like(x[:, :2])


def test_the_denoiser_scales_neighbours_like_slices_and_conditions_not():
    network, plain = Silent(), EDMDenoiser(torch.nn.Identity(), sigma_data=0.3)
    denoiser = NeighbourDenoiser(network, sigma_data=0.3, conditions=1)
    x = torch.randn(2, 7, 8, 8)
    torch.testing.assert_close(denoiser(x, 0.2), x[:, :2] * 0.3**2 / (0.2**2 + 0.3**2))
    assert torch.equal(network.x[:, :6], plain.network_inputs(x[:, :6], 0.2)[0])
    assert torch.equal(network.x[:, 6:], x[:, 6:])
    clean = torch.randn(2, 2, 8, 8)
    assert torch.equal(denoiser.network_target(x, clean, 0.2), plain.network_target(x[:, :2], clean, 0.2))
    assert isinstance(denoiser.around(network), NeighbourDenoiser)
