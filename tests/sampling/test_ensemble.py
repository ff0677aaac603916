# SPDX-License-Identifier: Apache-2.0
"""Ensembles: mean and spread of samples in pairs of opposite noise."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.inferers import SliceDiffusionInferer, measurement_of
from monai_iscs.operators import SliceAveraging
from monai_iscs.priors import Mirrored, NonNegative, SlicePrior
from monai_iscs.randomness import random_stream
from monai_iscs.sampling import (
    DDNM,
    DDIMRule,
    DDSRule,
    Ensemble,
    Geometric,
    IndependentNoise,
    NoNoise,
    Opposite,
    PartialNoise,
    Recipe,
    SlerpNoise,
    StagedNoise,
    Zeros,
)

SIZE = (8, 7, 12)
THICK = SliceAveraging(SIZE, factor=4, axis=0)
RECIPE = Recipe(
    start=Zeros(),
    sigmas=Geometric(5, 0.5, 0.02),
    prior=Mirrored(SlicePrior(2), mirror=0),
    consistency=DDNM(),
    noise=IndependentNoise(),
    rule=DDSRule(momentum=0.4),
)


def linear(x, sigma):
    """A linear denoiser that is the same for no two pixels."""
    return (x + x.roll(1, -1) + 0.5 * x.roll(1, -2)) / (2.5 + sigma)


def bent(x, sigma):
    return linear(x, sigma) + 0.1 * x.sin().square()


@pytest.fixture(scope="module")
def measurement():
    truth = torch.rand(1, *SIZE, generator=torch.Generator().manual_seed(0))
    return measurement_of(THICK(truth), THICK)


def sampled(measurement, samples, network=bent, seed=0, **plugs):
    run = SliceDiffusionInferer(replace(RECIPE, **plugs), seed=seed, samples=samples).run(measurement, network)
    list(run)
    return run


def members(measurement, count, **plugs):
    recipe = replace(RECIPE, **plugs)
    runs = [recipe.bind({"prior": bent}, measurement, member=member) for member in range(count)]
    for run in runs:
        list(run)
    return torch.stack([run.volume for run in runs])


@pytest.mark.parametrize("noise", [IndependentNoise(), SlerpNoise(), StagedNoise(SlerpNoise(), IndependentNoise())])
def test_opposite_noise_is_the_other_one_s_negative(noise):
    grid = Grid.centered(SIZE, (1.0, 1.0, 1.0))
    one, other = (kind.bind(grid, 2, random_stream(3, "noise")) for kind in (noise, Opposite(noise)))
    for _ in range(3):
        assert torch.equal(other(0.1), -one(0.1))
    assert (Opposite(noise).label, Opposite(noise).aligned) == (noise.label, noise.aligned)
    wide = Opposite(noise).bind(Grid.centered((40, 40, 3), (1.0, 1.0, 1.0)), 2, random_stream(0, "noise"))
    draws = torch.stack([wide(1.0) for _ in range(50)]).double()
    assert float(draws.square().mean()) == pytest.approx(1, abs=5 * (2 / (50 * 3200)) ** 0.5)


@pytest.mark.parametrize("rule", [DDSRule(), DDSRule(0.6, momentum=0.5), DDIMRule()])
@pytest.mark.parametrize("noise", [IndependentNoise(), SlerpNoise()])
def test_the_mean_of_a_pair_is_the_noiseless_run_for_a_linear_denoiser(measurement, rule, noise):
    pair = sampled(measurement, 2, linear, rule=rule, noise=noise)
    noiseless = sampled(measurement, 1, linear, rule=rule, noise=NoNoise())
    torch.testing.assert_close(pair.volume, noiseless.volume, atol=2e-6, rtol=0)
    assert float(pair.std.mean()) > 0.01


@pytest.mark.parametrize("count", [2, 4, 6])
def test_mean_and_spread_are_those_of_the_samples(measurement, count):
    """Welford's recurrence against all samples at once; the first one is the single run."""
    found, stack = sampled(measurement, count), members(measurement, count)
    torch.testing.assert_close(found.volume, stack.mean(0), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.std, stack.std(0), atol=1e-6, rtol=0)
    assert torch.equal(stack[0], sampled(measurement, 1).volume)
    assert all(float((one - other).abs().max()) > 0.01 for one, other in combinations(stack, 2))
    assert len(found) == 5 * count


def test_small_spreads_of_large_values_are_exact():
    """The naive formula, mean square minus squared mean, has no correct digit here."""

    class Fixed:
        def __init__(self, volume):
            self.kept, self.state = volume, None

        def __len__(self):
            return 1

        def __iter__(self):
            self.state = type("State", (), {"index": 0})()
            yield self.state

        @property
        def volume(self):
            return self.kept.clone()

    values = 1000 + 0.01 * torch.randn(6, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    ensemble = Ensemble(lambda member: Fixed(values[member]), 6)
    list(ensemble)
    torch.testing.assert_close(ensemble.std, values.double().std(0).float(), rtol=0.02, atol=1e-5)
    torch.testing.assert_close(ensemble.volume, values.mean(0))


def test_an_ensemble_goes_on_after_any_step_with_the_same_bits(measurement):
    inferer = SliceDiffusionInferer(replace(RECIPE, prior=NonNegative(RECIPE.prior)), samples=4)
    run, states = inferer.run(measurement, bent), []
    for _ in run:
        state = run.state_dict()
        copies = {name: value.clone() for name, value in state.items() if isinstance(value, torch.Tensor)}
        states.append(state | copies)
    assert [state["index"] for state in states] == list(range(20))
    for state in states:
        rest = inferer.run(measurement, bent)
        rest.load_state_dict(state)
        assert len(list(rest)) == 19 - state["index"]
        assert torch.equal(rest.volume, run.volume)
        assert torch.equal(rest.std, run.std)


def test_no_result_before_the_last_sample(measurement):
    run = SliceDiffusionInferer(RECIPE, samples=2).run(measurement, bent)
    steps = iter(run)
    for _ in range(7):
        next(steps)
    for name in ("volume", "std"):
        with pytest.raises(InputError, match="ensemble: found it inside sample 2, expected all 2 samples"):
            getattr(run, name)


def test_samples_in_a_batch_are_means(measurement):
    mean = SliceDiffusionInferer(RECIPE, scan=THICK, samples=2, progress=False)(measurement.data[None], bent)
    assert torch.equal(mean[0], sampled(measurement, 2).volume)


@pytest.mark.parametrize("samples", [0, -2, 3, 2.0, True, None])
def test_samples_come_in_pairs(samples):
    with pytest.raises(InputError, match=r"samples: found .*, expected 1 or an even number"):
        SliceDiffusionInferer(RECIPE, samples=samples)


@pytest.mark.parametrize("noise", [NoNoise(), PartialNoise(SlerpNoise(), 0.0), Opposite(NoNoise())])
def test_a_method_without_random_numbers_has_one_sample(noise):
    recipe = replace(RECIPE, noise=noise)
    SliceDiffusionInferer(recipe, samples=1)
    with pytest.raises(InputError, match=r"samples: found 2 of DDNM\+.*, expected 1: it draws no noise"):
        SliceDiffusionInferer(recipe, samples=2)
