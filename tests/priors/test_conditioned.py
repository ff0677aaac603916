# SPDX-License-Identifier: Apache-2.0
"""A network that is also shown a quick reconstruction."""

from __future__ import annotations

import pytest
import torch

from monai_iscs.classical import fdk
from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.priors import Conditioned, Mirrored, NonNegative, Overstated
from monai_iscs.randomness import random_stream
from monai_iscs.scans import ConeBeamScan

SHAPE = (20, 20, 5)
GRID = Grid.centered(SHAPE, (16.0, 16.0, 8.0))


class Network:
    """Says that the condition is the truth, and records what it sees."""

    size_divisor, in_channels = 8, 2

    def __init__(self):
        self.seen = []

    def __call__(self, x, sigma):
        self.seen.append((x.clone(), sigma))
        return x[:, 1:]


@pytest.fixture(scope="module")
def measurement():
    volume = torch.zeros(1, *SHAPE)
    volume[:, 4:15, 6:12] = 0.4
    return ConeBeamScan(views=12).simulate(volume, GRID)


def bind(prior, measurement, network):
    return prior.bind({"prior": network}, measurement, random_stream(0, "prior"))


@pytest.mark.parametrize("on", ["direct", "fdk"])
def test_the_network_is_shown_the_scans_own_reconstruction(measurement, on):
    network = Network()
    x = torch.rand(1, *SHAPE)
    found = bind(Conditioned(on=on), measurement, network)(x, 0.1)
    torch.testing.assert_close(found, fdk(measurement))
    stack, sigma = network.seen[0]
    assert stack.shape == (5, 2, 24, 24)
    assert sigma == 0.1
    torch.testing.assert_close(stack[:, 0, 2:22, 2:22], x[0].movedim(-1, 0))
    assert stack[:, 1, :2].abs().max() == 0


def test_another_axis(measurement):
    network = Network()
    found = bind(Conditioned(1), measurement, network)(torch.rand(1, *SHAPE), 0.1)
    torch.testing.assert_close(found, fdk(measurement))
    assert network.seen[0][0].shape == (20, 2, 24, 8)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("mirror", [0, 1])
def test_the_condition_is_mirrored_with_the_volume(measurement, wrapped, mirror):
    """Else the network would see two bodies."""
    network, inner = Network(), Conditioned()
    prior = bind(Mirrored(Overstated(NonNegative(inner), 2.0) if wrapped else inner, mirror), measurement, network)
    condition = fdk(measurement)
    expected = condition.clamp(min=0) if wrapped else condition
    for _ in range(2):
        torch.testing.assert_close(prior(condition, 0.1), expected)
    (first, _), (second, _) = network.seen
    for stack in (first, second):
        torch.testing.assert_close(stack[:, 0, 2:22, 2:22], stack[:, 1, 2:22, 2:22])
    torch.testing.assert_close(second[:, 1], first[:, 1].flip(mirror + 1))


def test_what_does_not_fit_is_refused(measurement):
    with pytest.raises(InputError, match="on: found 'admm', expected one of direct, fdk, cubic, sirt"):
        Conditioned(on="admm")
    single = Network()
    single.in_channels = 1
    with pytest.raises(InputError, match="network: found one that takes 1 channels, expected a multiple of 2"):
        bind(Conditioned(), measurement, single)
