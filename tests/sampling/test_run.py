# SPDX-License-Identifier: Apache-2.0
"""A run that is stopped after any step, saved and continued elsewhere has the same bits as without the stop."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from monai_iscs.classical import direct
from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector, ForeignOperator, SliceAveraging
from monai_iscs.priors import Mirrored, NonNegative, Overstated, SlicePrior
from monai_iscs.sampling import (
    DDNM,
    DDS,
    DDSTV,
    ConjugateGradient,
    DDIMRule,
    DDSRule,
    Geometric,
    IdenticalNoise,
    IndependentNoise,
    NoNoise,
    PartialNoise,
    Recipe,
    SlerpNoise,
    StagedNoise,
    Zeros,
)
from monai_iscs.scans import Measurement

SHAPE = (6, 5, 4)
NOISES = {
    "independent": IndependentNoise(),
    "identical": IdenticalNoise(),
    "slerp": SlerpNoise(),
    "slerp at 60 degrees": SlerpNoise(60),
    "identical steps": StagedNoise(IndependentNoise(), IdenticalNoise()),
    "half of slerp": PartialNoise(SlerpNoise(), 0.5),
    "noiseless": NoNoise(),
}
RULES = {
    "dds": DDSRule(),
    "dds, eta 0.5": DDSRule(0.5),
    "dds, momentum 0.4": DDSRule(momentum=0.4),
    "dds, both": DDSRule(0.5, 0.4),
    "ddim": DDIMRule(),
    "ddim, eta 0.5": DDIMRule(0.5),
    "ddim, eta 0, momentum 0.4": DDIMRule(0.0, 0.4),
}
SOLVER = ConjugateGradient(iterations=3, smoothing=0.5)
STEPS = {
    "dds": DDS(solver=SOLVER),
    "dds, gamma": DDS(solver=SOLVER, gamma=2.0),
    "dds, discrepancy": DDS(solver=SOLVER, discrepancy=True),
    "dds, error": DDS(solver=SOLVER, error=2.0),
    "dds, dual": DDS(solver=SOLVER, error=2.0, dual=0.8),
    "dds, discrepancy and dual": DDS(solver=SOLVER, discrepancy=True, dual=1.0),
    "ddnm": DDNM(iterations=5),
    "ddnm, discrepancy": DDNM(iterations=5, smoothing=0.5, discrepancy=True),
    "ddstv": DDSTV(solver=SOLVER),
    "ddstv, gamma": DDSTV(solver=SOLVER, gamma=2.0),
    "ddstv, discrepancy": DDSTV(solver=SOLVER, admm_iterations=2, discrepancy=True),
}
PRIORS = {
    "slices": SlicePrior(),
    "slices along x": SlicePrior(0),
    "mirrored": Mirrored(SlicePrior()),
    "overstated": Overstated(SlicePrior(), 1.5),
    "all": NonNegative(Mirrored(Overstated(SlicePrior(1), 1.5), mirror=2)),
    "mirrored twice": Mirrored(Mirrored(SlicePrior(), mirror=0), mirror=1),
}


class Network:
    """A denoiser that is not symmetric, and whose slices are padded with noise: both change the result."""

    size_divisor = 4

    def __call__(self, x, sigma):
        ramp = torch.linspace(0.5, 1.5, x.shape[-2] * x.shape[-1]).view(x.shape[-2:])
        return torch.tanh(x * ramp + x.roll(1, -1) + x.roll(1, -2)) / (1 + sigma**2)


def measured(shape=SHAPE):
    """Data with noise of a known level."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.rand(30, 120, generator=generator) / 10
    pair = (lambda x: matrix @ x.flatten(), lambda y: (matrix.T @ y).view(shape))
    operator = ForeignOperator(pair, domain_shape=shape, range_shape=(30,), resolution=(1.0, 2.0, 3.0))
    data = operator(torch.rand(1, *shape, generator=generator))
    return Measurement(data + 0.3 * torch.randn(data.shape, generator=generator), operator, noise_level=0.3)


def bind(recipe, measurement=None, seed=0):
    return recipe.bind({"prior": Network()}, measurement or measured(), seed=seed)


def saved(run):
    """The state from a file."""
    file = io.BytesIO()
    torch.save(run.state_dict(), file)
    return file.getvalue()


def loaded(file):
    return torch.load(io.BytesIO(file), weights_only=True)


def check_resumption(recipe, measurement=None):
    """From each of its steps, of a file and of a dictionary in memory, to the end."""
    run = bind(recipe, measurement)
    estimates, files, states = [], [], []
    for state in run:
        estimates.append(state.x0_hat.clone())
        files.append(saved(run))
        states.append(run.state_dict())
    volume = run.volume
    assert all(bool((a != b).any()) for a, b in pairwise(estimates))
    for step, (file, state) in enumerate(zip(files, states, strict=True)):
        for content in (loaded(file), state):
            fresh = bind(recipe, measurement, seed=17)  # all random numbers are the state's
            fresh.load_state_dict(content)
            assert torch.equal(fresh.state.x0_hat, estimates[step])
            rest = [(later.index, later.x0_hat.clone()) for later in fresh]
            assert [index for index, _ in rest] == list(range(step + 1, len(run)))
            assert all(torch.equal(estimate, estimates[index]) for index, estimate in rest)
            assert torch.equal(fresh.volume, volume)


RECIPE = Recipe(start=Zeros(), sigmas=Geometric(4, 1.0, 0.05))


def test_a_helix_from_its_direct_start():
    """The denoiser does nothing: only the start and the data bring the volume near to the truth."""
    grid = Grid.centered((16, 16, 12), (12.0, 12.0, 8.0))
    angles = np.linspace(-2, 2, 24) * np.pi
    circle = ConeBeamGeometry.circular(
        source_to_isocenter=600,
        source_to_detector=1000,
        angles=angles,
        detector_shape=(12, 40),
        detector_pitch=(12.0, 12.0),
    )
    up = 50 * angles[:, None] / (2 * np.pi) * [0, 0, 1]
    operator = ConeBeamProjector(replace(circle, source=circle.source + up, detector=circle.detector + up), grid)
    truth = torch.zeros(1, *grid.shape)
    truth[:, 3:13, 4:12, 2:11] = 0.5
    truth[:, 6:9, 6:9, 4:8] = 0.9
    measurement = Measurement(0.052 * operator(truth), 0.052 * operator)
    recipe = Recipe(sigmas=Geometric(3, 0.1, 0.01), consistency=DDS(solver=SOLVER), noise=SlerpNoise())
    run = recipe.bind({"prior": lambda x, sigma: x}, measurement, seed=0)
    assert len(list(run)) == 3
    for volume, off in ((direct(measurement), 0.2), (run.volume, 0.3)):
        assert float((volume - truth).norm() / truth.norm()) < off


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("step", STEPS)
def test_every_consistency_step_and_rule_can_be_resumed(step, rule):
    check_resumption(replace(RECIPE, consistency=STEPS[step], rule=RULES[rule]))


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("noise", NOISES)
def test_every_noise_and_prior_can_be_resumed(noise, prior):
    recipe = replace(RECIPE, noise=NOISES[noise], prior=PRIORS[prior], rule=DDSRule(0.5, 0.4))
    check_resumption(replace(recipe, consistency=STEPS["ddstv"]))


def test_the_pseudo_inverse_of_thick_slices_can_be_resumed():
    operator = SliceAveraging(SHAPE, factor=2, axis=2)
    y = operator(torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(1)))
    check_resumption(replace(RECIPE, consistency=DDNM(discrepancy=True)), Measurement(y, operator, noise_level=0.1))


@pytest.mark.parametrize("name", ["default", "fast", "limited-angle", "super-resolution", "released", "paper"])
def test_whole_recipes_can_be_resumed(recipes, name):
    check_resumption(replace(recipes[name].changed(steps=4), start=Zeros()))


def test_a_state_belongs_to_what_the_steps_need(recipes):
    """The state has no more than needed, and only plain values."""
    run = bind(replace(recipes["fast"].changed(steps=3), start=Zeros()))
    next(iter(run))
    state = loaded(saved(run))
    assert list(state) == ["index", "sigma", "x0_hat", "eps_hat", "prior", "noise", "rule"]
    assert (state["index"], state["sigma"]) == (0, pytest.approx(0.1))
    assert state["eps_hat"] is None  # the rule drops it
    ddim = bind(replace(RECIPE, rule=DDIMRule(0.5), consistency=DDSTV()))
    next(iter(ddim))
    assert ddim.state_dict()["eps_hat"].shape == (1, *SHAPE)
    assert set(ddim.state_dict()["consistency"]) == {"z", "u"}


def test_a_run_that_is_left_goes_on_where_it_was():
    """In the same process no state is needed."""
    recipe = replace(RECIPE, rule=DDSRule(0.5, 0.4), consistency=DDSTV())
    whole, parts = bind(recipe), bind(recipe)
    assert [state.index for state in whole] == [0, 1, 2, 3]
    seen = []
    for _ in range(len(parts)):
        for state in parts:
            seen.append(state.index)
            break
    assert seen == [0, 1, 2, 3]
    assert list(parts) == []
    assert torch.equal(parts.volume, whole.volume)


def test_the_volume_is_that_of_the_last_finished_step():
    run = bind(replace(RECIPE, prior=NonNegative(SlicePrior())))
    assert len(run) == 4
    for state in run:
        assert torch.equal(run.volume, state.x0_hat.clamp(min=0))
        assert float(state.x0_hat.min()) < 0
        assert not run.volume.requires_grad


def test_between_the_steps_only():
    """There is no state to save before the first step or after an interrupted one."""
    run = bind(RECIPE)
    for ask in (run.state_dict, lambda: run.volume):
        with pytest.raises(InputError, match="run: found it before its first step, expected it between two steps"):
            ask()

    def broken(x, sigma):
        if sigma < 0.5:
            raise KeyboardInterrupt
        return x

    run = RECIPE.bind({"prior": broken}, measured())
    with pytest.raises(KeyboardInterrupt):
        list(run)
    for ask in (run.state_dict, lambda: run.volume, lambda: list(run)):
        with pytest.raises(InputError, match="run: found it inside step 2, expected it between two steps"):
            ask()


def test_seeds_and_measurements_make_runs():
    first, again, other = (bind(RECIPE, seed=seed) for seed in (0, 0, 1))
    for run in (first, again, other):
        list(run)
    assert torch.equal(first.volume, again.volume)
    assert not torch.equal(first.volume, other.volume)
    with pytest.raises(InputError, match="seed: found -1"):
        bind(RECIPE, seed=-1)
    with pytest.raises(InputError, match="network: found other, expected one named 'prior'"):
        RECIPE.bind({"other": Network()}, measured())
