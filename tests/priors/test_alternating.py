# SPDX-License-Identifier: Apache-2.0
"""Two priors in turn."""

from __future__ import annotations

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ForeignOperator
from monai_iscs.priors import Alternating, Mirrored, NonNegative, SlicePrior
from monai_iscs.randomness import random_stream
from monai_iscs.sampling import Consistency, DDSRule, Geometric, IdenticalNoise, Recipe, SlerpNoise, Zeros
from monai_iscs.scans import Measurement

SHAPE = (4, 6, 8)


class Network:
    def __init__(self):
        self.seen = []

    def __call__(self, x, sigma):
        self.seen.append(x.clone())
        return x


class Kept(Consistency):
    """No measurement."""

    label = "none"

    def bind(self, measurement, axis):
        return lambda x0, sigma: x0.clone()


def bind(prior, networks):
    operator = ForeignOperator((torch.clone, torch.clone), domain_shape=SHAPE, range_shape=SHAPE)
    measurement = Measurement(torch.zeros(1, *SHAPE), operator, Grid.centered(SHAPE, (1.0, 1.0, 1.0)))
    return prior.bind(networks, measurement, random_stream(0, "prior"))


@pytest.mark.parametrize(("every", "turns"), [(2, "mcmcmc"), (3, "mmcmmc"), (5, "mmmmcm")])
def test_the_other_prior_has_every_nth_turn_with_its_own_slices(every, turns):
    networks = {"prior": Network(), "coronal": Network()}
    prior = bind(Alternating(SlicePrior(2), SlicePrior(1, "coronal"), every), networks)
    volume, found = torch.rand(1, *SHAPE), ""
    for _ in turns:
        before = len(networks["coronal"].seen)
        assert torch.equal(prior(volume, 0.1), volume)
        found += "c" if len(networks["coronal"].seen) > before else "m"
    assert found == turns
    assert networks["prior"].seen[0].shape == (8, 1, 4, 6)
    assert networks["coronal"].seen[0].shape == (6, 1, 4, 8)


def test_it_is_described_by_its_parts():
    prior = Alternating(NonNegative(SlicePrior(2)), NonNegative(SlicePrior(1, "coronal")))
    assert (prior.axis, prior.lower_bound, prior.networks, prior.label) == (2, 0.0, ("prior", "coronal"), "TPDM")
    assert Alternating(NonNegative(SlicePrior(2)), SlicePrior(1)).lower_bound < 0
    for every in (1, 2.0, True):
        with pytest.raises(InputError, match="every: found"):
            Alternating(SlicePrior(2), SlicePrior(1), every)


def test_both_are_mirrored_in_turn():
    networks = {"prior": Network(), "coronal": Network()}
    parts = (Mirrored(SlicePrior(2), 0), Mirrored(SlicePrior(1, "coronal"), 0))
    prior = bind(Alternating(*parts), networks)
    volume = torch.rand(1, *SHAPE)
    for _ in range(4):
        assert torch.equal(prior(volume, 0.1), volume)
    for name, axis in (("prior", 3), ("coronal", 2)):
        for seen, expected in zip(networks[name].seen, (volume, volume.flip(1)), strict=True):
            assert torch.equal(seen, expected.movedim(axis, 0))
    around = bind(Mirrored(Alternating(SlicePrior(2), SlicePrior(1, "coronal"), 3), 0), networks)
    assert torch.equal(around(volume, 0.1), volume)


def test_a_stopped_run_goes_on_with_the_turn_it_was_at():
    networks = {"prior": Network(), "coronal": Network()}
    prior, again = (bind(Alternating(SlicePrior(2), SlicePrior(1, "coronal"), 3), networks) for _ in range(2))
    volume = torch.rand(1, *SHAPE)
    prior(volume, 0.1)
    prior(volume, 0.1)
    again.load_state_dict(prior.state_dict())
    again(volume, 0.1)
    assert len(networks["coronal"].seen) == 1


@pytest.mark.parametrize("noise", [IdenticalNoise(), SlerpNoise(30.0)])
@pytest.mark.parametrize("every", [2, 3])
def test_correlated_noise_is_along_the_slices_of_whose_turn_it_is(every, noise):
    """Neighbouring slices get alike noise; within a slice it is white."""
    shape, networks = (24, 26, 28), {"prior": Network(), "coronal": Network()}
    operator = ForeignOperator((torch.clone, torch.clone), domain_shape=shape, range_shape=shape)
    measurement = Measurement(torch.zeros(1, *shape), operator, Grid.centered(shape, (1.0, 1.0, 1.0)), noise_level=0.0)
    prior = Mirrored(Alternating(SlicePrior(2), SlicePrior(1, "coronal"), every), 0)
    recipe = Recipe(
        start=Zeros(), sigmas=Geometric(6, 1.0, 0.1), prior=prior, consistency=Kept(), noise=noise, rule=DDSRule()
    )
    run = recipe.bind(networks, measurement, seed=3)
    for state in run:
        state.x0_hat.zero_()  # only the noise comes back
    for name, count in (("prior", 6 - 6 // every), ("coronal", 6 // every)):
        assert len(networks[name].seen) == count
        for seen in networks[name].seen:
            stack = seen[:, 0] / seen.std()
            between = float((stack[1:] * stack[:-1]).mean())
            within = [float((stack * stack.roll(1, axis)).mean()) for axis in (1, 2)]
            assert between > 0.95
            assert max(map(abs, within)) < 0.15
