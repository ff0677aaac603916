# SPDX-License-Identifier: Apache-2.0
"""Steps between the loop and the prior: its sigma, mirrored slices, non-negative values."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from monai_iscs.inferers import SliceDiffusionInferer
from monai_iscs.operators import ForeignOperator
from monai_iscs.priors import Mirrored, NonNegative, Overstated, SlicePrior
from monai_iscs.sampling import Geometric, Recipe, SlerpNoise, Zeros


def identity(*shape):
    return ForeignOperator((lambda x: x, lambda y: y), domain_shape=shape, range_shape=shape)


def make(shape, prior, *, steps=3, first=0.4, last=0.1, callback=None, **plugs):
    recipe = Recipe(start=Zeros(), sigmas=Geometric(steps, first, last), prior=prior, **plugs)
    return SliceDiffusionInferer(recipe, scan=identity(*shape), progress=False, callback=callback)


def test_the_prior_is_told_more_than_the_noise_that_was_added():
    """With a factor of 2 the prior gets twice the sigmas of the noise."""
    told, drawn = [], []

    @dataclass(frozen=True)
    class Noise(SlerpNoise):
        def stack(self, canvas, sigma):
            drawn.append(sigma)
            return super().stack(canvas, sigma)

    def prior(x, sigma):
        told.append(float(sigma))
        return x

    make((4, 4, 3), Overstated(SlicePrior(), 2.0), noise=Noise())(torch.rand(1, 1, 4, 4, 3), prior)
    assert drawn == pytest.approx([0.4, 0.2, 0.1])
    assert told == pytest.approx([0.8, 0.4, 0.2])


def test_every_other_step_shows_the_prior_mirrored_slices():
    """Results are mirrored back: an identity prior changes nothing."""
    seen = []

    def prior(x, sigma):
        seen.append(x.clone())
        return x

    measurement = torch.rand(1, 1, 4, 6, 3)
    plain = make((4, 6, 3), SlicePrior())(measurement, prior)
    straight, seen[:] = list(seen), []
    mirrored = make((4, 6, 3), Mirrored(SlicePrior(), mirror=1))(measurement, prior)
    torch.testing.assert_close(mirrored, plain)
    for step, (a, b) in enumerate(zip(straight, seen, strict=True)):
        torch.testing.assert_close(b, a.flip(3) if step == 1 else a)


def test_every_volume_begins_with_the_straight_one():
    """An odd number of steps does not leave the next volume mirrored."""
    inferer = make((4, 6, 3), Mirrored(SlicePrior(), mirror=1))
    both = torch.rand(1, 1, 4, 6, 3).repeat(2, 1, 1, 1, 1)
    found = inferer(both, lambda x, sigma: x * torch.linspace(0.9, 1.1, 6))
    assert torch.equal(found[0], found[1])


def test_negative_values_can_be_kept_out():
    """Of the prior's estimates, and of the result that conjugate gradients left negative somewhere."""
    measurement = torch.rand(1, 1, 4, 4, 3) - 0.5
    estimates = []

    def run(prior):
        settings = {"steps": 2, "first": 0.3, "callback": lambda step: estimates.append(step.x0)}
        return make((4, 4, 3), prior, **settings)(measurement, lambda x, sigma: x - 0.5)

    free = run(SlicePrior())
    assert min(float(x0.min()) for x0 in estimates) < 0
    torch.testing.assert_close(free, measurement)
    estimates.clear()
    bounded = run(NonNegative(SlicePrior()))
    assert min(float(x0.min()) for x0 in estimates) == 0
    torch.testing.assert_close(bounded, measurement.clamp(min=0))
