# SPDX-License-Identifier: Apache-2.0
"""Plugs that users write, each in a few lines and without a change of the package; all on a real CT volume."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from pathlib import Path

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.networks.nets import DiffusionModelUNet
from monai.transforms import LoadImage
from torch import nn
from torch.nn.functional import avg_pool2d

from monai_iscs.errors import InputError
from monai_iscs.inferers import Hardware, SliceDiffusionInferer, measurement_of
from monai_iscs.operators import SliceAveraging
from monai_iscs.priors import Mirrored, Prior, SlicePrior
from monai_iscs.sampling import DDNM, DDIMRule, Geometric, IndependentNoise, Recipe, SliceNoise, Zeros

DATA = Path(__file__).parent / "data"

# ---------------------------------------------------------------------------------------------- what users write


@dataclass(frozen=True)
class Triplets(SlicePrior):
    """Gives the network each slice between its neighbours (DiffusionBlend)."""

    shown = 3

    def ask(self, network, stack, sigma):
        longer = torch.cat([stack[:1], stack, stack[-1:]])
        return network(torch.cat([longer[:-2], stack, longer[2:]], dim=1), sigma)


@dataclass(frozen=True)
class Alternating(Prior):
    """Several priors in turn, such as two networks for slices along two axes (TPDM)."""

    priors: tuple[Prior, ...]

    @property
    def axis(self):
        return self.priors[0].axis

    def bind(self, *given):
        return BoundAlternating([prior.bind(*given) for prior in self.priors])


class BoundAlternating:
    def __init__(self, bound):
        self.bound, self.turn = bound, -1

    def __call__(self, x, sigma):
        self.turn += 1
        return self.bound[self.turn % len(self.bound)](x, sigma)

    def state_dict(self):
        return {"turn": self.turn, "bound": [one.state_dict() for one in self.bound]}

    def load_state_dict(self, state):
        self.turn = state["turn"]
        for one, inside in zip(self.bound, state["bound"], strict=True):
            one.load_state_dict(inside)


@dataclass(frozen=True)
class ExponentialNoise(SliceNoise):
    """Slices correlate by their distance: exp(-d / length)."""

    length_mm: float = 10.0
    label = "Exponential"

    def stack(self, canvas, sigma):
        distances = (canvas.positions[:, None] - canvas.positions).abs()
        root = torch.linalg.cholesky(torch.exp(-distances / self.length_mm)).float()
        return torch.tensordot(root, canvas.draw(len(root)), dims=1)


class Ensemble(Inferer):
    """Mean and standard deviation over seeds."""

    def __init__(self, recipe, seeds, **settings):
        self.members = [SliceDiffusionInferer(recipe, seed=seed, progress=False, **settings) for seed in seeds]

    def __call__(self, inputs, network, scan=None):
        volumes = torch.stack([member(inputs, network, scan) for member in self.members])
        return volumes.mean(0), volumes.std(0)


# ------------------------------------------------------------------------------------------------ what they get

SIZE = (32, 30, 24)
THICK = SliceAveraging(SIZE, factor=4, axis=0)
WHOLE = Hardware(slice_batch=100)
RECIPE = Recipe(start=Zeros(), sigmas=Geometric(6, 0.5, 0.02), consistency=DDNM(), noise=IndependentNoise())


@pytest.mark.parametrize("plug", [(Triplets,), (Alternating, BoundAlternating), (ExponentialNoise,), (Ensemble,)])
def test_a_plug_takes_a_few_lines(plug):
    written = "".join(inspect.getsource(part) for part in plug)
    assert len([line for line in written.splitlines() if line.strip()]) < 25


@pytest.fixture(scope="module")
def truth():
    """Part of a trunk, (1, 32, 30, 24), 3 mm; -1000 HU is 0 and 1600 HU is 1."""
    image = LoadImage(image_only=True, ensure_channel_first=True)(DATA / "totalseg_example_ct_sm.nii.gz")
    part = image[:, 20:52, 20:50, 3:27]
    return MetaTensor(((part.as_tensor() + 1000) / 2600).clamp(0, 1), affine=part.affine)


@pytest.fixture(scope="module")
def y(truth):
    """Thick sagittal slices, (1, 1, 8, 30, 24)."""
    return MetaTensor(THICK(truth.as_tensor())[None], affine=truth.affine)


def make(hardware=None, **plugs):
    recipe = replace(RECIPE, **plugs)
    return SliceDiffusionInferer(recipe, scan=THICK, hardware=hardware, progress=False)


def error(found, truth):
    return float((torch.as_tensor(found) - truth).as_subclass(torch.Tensor).square().mean().sqrt())


class Wiener:
    """The exact linear denoiser of a pixel from itself and its neighbours in so many slices."""

    def __init__(self, truth, slices):
        self.in_channels = slices
        rows = truth.as_tensor()[0].unfold(2, slices, 1).reshape(-1, slices)
        self.mean, self.covariance = rows.mean(0)[:, None, None], torch.cov(rows.T).reshape(slices, slices)
        self.seen = []

    def __call__(self, x, sigma):
        self.seen.append(x.clone())
        middle = self.in_channels // 2
        noisy = self.covariance + sigma**2 * torch.eye(self.in_channels)
        weights = torch.linalg.solve(noisy, self.covariance[middle])
        return self.mean[middle] + torch.einsum("c,schw->shw", weights, x - self.mean)[:, None]


def test_a_prior_that_sees_three_neighbouring_slices(truth, y):
    """The network gets the neighbours, returns the slice between them, and is better than from that slice alone."""
    triplets, single = Wiener(truth, 3), Wiener(truth, 1)
    found = make(WHOLE, prior=Triplets())(y, triplets)
    assert len(triplets.seen) == 6
    for seen in triplets.seen:
        assert seen.shape == (24, 3, 32, 30)
        before, middle, after = seen.unbind(1)
        assert torch.equal(before[1:], middle[:-1])
        assert torch.equal(after[:-1], middle[1:])
        assert torch.equal(before[0], middle[0])
        assert torch.equal(after[-1], middle[-1])
    alone = make(WHOLE)(y, single)
    assert error(found, truth) < 0.96 * error(alone, truth)
    noisy = truth.as_tensor() + 0.05 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    both, one = (
        make(prior=prior).run(measurement_of(y[0], THICK), network).plugs.prior(noisy, 0.05)
        for prior, network in ((Triplets(), triplets), (SlicePrior(), single))
    )
    assert error(both, truth) < 0.9 * error(one, truth)
    torch.testing.assert_close(THICK(found.as_tensor()), y.as_tensor(), atol=1e-4, rtol=0)
    torch.testing.assert_close(make(Hardware(slice_batch=5), prior=Triplets())(y, triplets), found)
    with pytest.raises(InputError, match="network: found one that takes 1 channels, expected a multiple of 3"):
        make(prior=Triplets())(y, single)


def test_three_slices_of_any_axis_in_wrappers_and_a_network_that_needs_padding(truth, y):
    """The package does the same for a user's prior: an untrained network of MONAI."""
    torch.manual_seed(0)
    network = DiffusionModelUNet(
        spatial_dims=2,
        in_channels=3,
        out_channels=1,
        **{"channels": (8, 8), "attention_levels": (False, False), "num_res_blocks": 1, "norm_num_groups": 4},
    )

    class Middle(nn.Module):
        in_channels, size_divisor = 3, 8

        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, x, sigma):
            assert x.shape[1:] == (3, 32, 24)
            return x[:, 1:2] / (1 + sigma**2) + self.network(x, timesteps=torch.full((len(x),), 100 * sigma))

    found = make(prior=Mirrored(Triplets(1), mirror=2))(y, Middle())
    assert found.shape == (1, 1, *SIZE)
    torch.testing.assert_close(THICK(found.as_tensor()), y.as_tensor(), atol=1e-3, rtol=0)


class Blur:
    """A denoiser that only smooths in its plane, not across it."""

    def __init__(self):
        self.shapes = []

    def __call__(self, x, sigma):
        self.shapes.append(tuple(x.shape))
        return avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def test_a_prior_that_alternates_between_two_axes(truth, y):
    """Each network gets the slices of its axis every other step, and the smoothing of both reaches the result."""
    prior = Alternating((SlicePrior(2, "axial"), SlicePrior(1, "coronal")))
    networks = {"axial": Blur(), "coronal": Blur()}
    found = make(WHOLE, prior=prior)(y, networks)
    assert networks["axial"].shapes == [(24, 1, 32, 30)] * 3
    assert networks["coronal"].shapes == [(30, 1, 32, 24)] * 3
    one = make(WHOLE, prior=SlicePrior(2, "axial"))(y, networks)

    def rough(volume):
        return float(volume.as_tensor().diff(dim=-1).square().mean())

    assert rough(found) < 0.7 * rough(one)
    torch.testing.assert_close(THICK(found.as_tensor()), y.as_tensor(), atol=1e-4, rtol=0)
    described = replace(RECIPE, prior=prior).as_dict()["prior"]
    assert [one["axis"] for one in described["priors"]] == [2, 1]
    with pytest.raises(InputError, match="network: found axial, expected one named 'coronal'"):
        make(prior=prior)(y, {"axial": Blur()})


def test_an_alternating_run_goes_on_with_the_axis_it_was_at(truth, y):
    inferer = make(prior=Alternating((SlicePrior(2, "a"), SlicePrior(1, "b"))), rule=DDIMRule(0.5))
    networks = {"a": Blur(), "b": lambda x, sigma: 0.9 * x}
    measurement = measurement_of(y[0], THICK)
    run, states = inferer.run(measurement, networks), []
    for _ in run:
        states.append(run.state_dict())
    for state in states:
        rest = inferer.run(measurement, networks)
        rest.load_state_dict(state)
        list(rest)
        assert torch.equal(rest.volume, run.volume)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_noise_whose_correlation_falls_with_the_distance_in_mm(truth, y, share):
    """In the prior's first input, over some seeds: unit variance, and exp(-d / 10 mm) for any voxels."""
    affine = torch.diag(torch.tensor([share] * 3 + [1.0], dtype=torch.float64)) @ truth.affine
    measured, drawn = MetaTensor(y.as_tensor(), affine=affine), []
    recipe = replace(RECIPE, sigmas=Geometric(1, 0.5, 0.02), noise=ExponentialNoise())
    for seed in range(40):
        inferer = SliceDiffusionInferer(recipe, scan=THICK, hardware=WHOLE, seed=seed, progress=False)
        inferer(measured, lambda x, sigma: drawn.append(x / sigma) or x)
    slices = torch.stack(drawn).double().movedim(1, 0).flatten(1)  # (24, draws)
    count = slices.shape[1]
    assert count == 40 * 32 * 30
    assert slices.mean(1).abs().max() < 5 / count**0.5
    distances = 3.0 * share * (torch.arange(24)[:, None] - torch.arange(24)).abs()
    expected = torch.exp(-distances / 10).double()
    assert (slices @ slices.T / count - expected).abs().max() < 5 * (2 / count) ** 0.5
    assert float(expected[0, 1]) == pytest.approx(0.7408 if share == 1 else 0.8607, abs=1e-4)
    volume = torch.stack(drawn)[:, 12, 0]
    assert abs(float((volume[:, 1:] * volume[:, :-1]).mean())) < 5 / count**0.5  # none in the plane
    assert recipe.label == "DDNM+Exponential"


def test_a_noise_of_one_s_own_reconstructs(truth, y):
    network = Wiener(truth, 1)
    found = make(noise=ExponentialNoise())(y, network)
    torch.testing.assert_close(THICK(found.as_tensor()), y.as_tensor(), atol=1e-4, rtol=0)
    assert not torch.equal(found, make(noise=ExponentialNoise(30.0))(y, network))

    errors = [make(noise=ExponentialNoise(length))(y, network) - truth for length in (1.0, 10.0, 100.0)]
    gaps = [float(volume.as_tensor().diff(dim=-1).square().mean().sqrt()) for volume in errors]
    assert all(longer < 0.9 * shorter for shorter, longer in pairwise(gaps))


def test_an_ensemble_of_four_seeds(truth, y):
    """All members agree on what is measured; their spread shows what is not."""
    recipe, network = replace(RECIPE, rule=DDIMRule(1.0)), Wiener(truth, 1)
    mean, std = Ensemble(recipe, range(4), scan=THICK)(y, network)
    members = [SliceDiffusionInferer(recipe, scan=THICK, seed=seed, progress=False)(y, network) for seed in range(4)]
    stack = torch.stack([member.as_tensor() for member in members])
    assert not any(torch.equal(one, other) for one, other in combinations(members, 2))
    torch.testing.assert_close(mean.as_tensor(), stack.mean(0))
    torch.testing.assert_close(std.as_tensor(), stack.std(0))
    assert mean.shape == std.shape == (1, 1, *SIZE)
    torch.testing.assert_close(mean.affine, truth.affine)
    # the range of A is measured: there they agree; in its null space they don't
    seen = THICK(stack)
    assert float(seen.std(0).max()) < 1e-4
    open_ = stack - THICK.pseudo_inverse(seen)
    torch.testing.assert_close(open_.std(0), stack.std(0), atol=1e-4, rtol=0)
    assert float(std.mean()) > 0.01
    # the mean's error is a member's minus the spread (of four, about their mean)
    single, spread = (stack - truth.as_tensor()).square().mean(), stack.var(0, correction=0).mean()
    assert error(mean, truth) ** 2 == pytest.approx(float(single - spread), rel=1e-3)
