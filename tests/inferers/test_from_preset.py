# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from functools import partial

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.inferers import SliceDiffusionInferer
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector, SliceAveraging
from monai_iscs.sampling import (
    DDNM,
    DDS,
    DDSTV,
    PRESETS,
    DDIMRule,
    DDSRule,
    IndependentNoise,
    SlerpNoise,
)
from monai_iscs.scans import estimate_noise_level


def prior(x, sigma):
    """The exact denoiser of pixels that are N(0.3, 0.1 squared)."""
    return 0.3 + 0.01 / (0.01 + sigma**2) * (x - 0.3)


def test_presets_build_the_plugs():
    released = SliceDiffusionInferer.from_preset("released")
    assert (released.rule, len(released.sigmas), type(released.noise)) == (DDSRule(1), 30, SlerpNoise)
    paper = SliceDiffusionInferer.from_preset(
        "paper", steps=4, eta=0.5, seed=3, noise=IndependentNoise, slice_batch=2, consistency=DDNM
    )
    assert (paper.rule, len(paper.sigmas), type(paper.noise)) == (DDIMRule(0.5), 4, IndependentNoise)
    like = torch.empty(3, 1, 4, 4)
    assert torch.equal(paper.noise(like, 1.0), IndependentNoise(seed=3)(like, 1.0))
    assert (paper.slice_batch, paper.consistency.func, paper.start) == (2, DDNM, None)
    assert SliceDiffusionInferer.from_preset().start is released.start is not None


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"name": "best"}, "preset is 'best'"), ({"steps": 0}, "steps is 0"), ({"eta": 1.5}, "eta is 1.5")],
)
def test_presets_refuse_nonsense(settings, message):
    with pytest.raises(InputError, match=message):
        SliceDiffusionInferer.from_preset(**settings)


def idle(operator, measurement):
    """A consistency step that does nothing."""
    return lambda x0, sigma: x0


@pytest.mark.parametrize("name", sorted(PRESETS.keys() - {"super-resolution"}))
@pytest.mark.parametrize("consistency", [None, DDNM, DDS])
def test_presets_meet_the_measurement_of_a_cone_beam(name, consistency):
    """The volume is not what the prior alone would give: without the consistency step it is missed."""
    geometry = ConeBeamGeometry.paper((16, 16, 4), (8.0, 8.0, 8.0), views=8)
    operator = 0.052 * ConeBeamProjector(geometry)
    x = torch.linspace(0, 3, 16)
    volume = 0.3 + 0.2 * torch.sin(x)[:, None, None] * torch.cos(x)[:, None] * torch.tensor([1.0, 0.9, 0.8, 0.7])
    measurement = operator(volume[None, None])

    def missed(step):
        inferer = SliceDiffusionInferer.from_preset(name, steps=4, operator=operator, consistency=step, progress=False)
        found = inferer(measurement, prior)
        return float((operator(found) - measurement).norm()), float((found - volume).norm())

    (left, error), (left_alone, error_alone) = missed(consistency), missed(idle)
    assert left < 0.4 * left_alone
    assert error < 0.8 * error_alone


@pytest.mark.parametrize("consistency", [None, DDNM])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_super_resolution_from_thick_slices(consistency, noise):
    """The volume changes smoothly in the thick slices' plane, so that their noise can be told."""
    x = torch.linspace(0, 3, 24)
    volume = (0.3 + 0.2 * torch.sin(x)[:, None, None] * torch.cos(x)[:, None] * torch.sin(2 * x[:20])).expand(
        1, 1, -1, -1, -1
    )
    operator = SliceAveraging((24, 24, 20), factor=4)
    measurement = operator(volume)
    measurement = measurement + noise * torch.randn(measurement.shape, generator=torch.Generator().manual_seed(1))
    inferer = SliceDiffusionInferer.from_preset(
        "super-resolution", steps=4, operator=operator, slice_axis=1, consistency=consistency, progress=False
    )
    found = inferer(measurement, prior)
    left = float((operator(found) - measurement).square().mean().sqrt())
    assert left == pytest.approx(noise, rel=0.2, abs=1e-4)
    assert (found - volume).square().mean().sqrt() < 0.08


@pytest.mark.parametrize(
    ("settings", "width"),
    [
        ({}, 0.65),
        ({"noise": IndependentNoise}, 0.0),
        ({"noise": IndependentNoise, "smoothing": 0.3}, 0.3),
        ({"smoothing": 0.0}, 0.0),
        ({"consistency": DDNM}, 0.65),
        ({"consistency": partial(DDS, smoothing=0.2)}, 0.2),
        ({"name": "released"}, 0.0),
    ],
)
def test_corrections_are_bound_across_slices_where_their_noise_is_alike(settings, width):
    assert SliceDiffusionInferer.from_preset(**settings).consistency.keywords["smoothing"] == width


@pytest.mark.parametrize(
    ("settings", "level"),
    [
        ({}, estimate_noise_level),
        ({"consistency": DDNM}, estimate_noise_level),
        ({"noise_level": 0.01}, 0.01),
        ({"consistency": partial(DDS, noise_level=0.02)}, 0.02),
        ({"consistency": partial(DDS, gamma=1.0)}, None),
        ({"name": "released"}, 0.0),
        ({"name": "paper"}, None),
        ({"name": "paper", "noise_level": 0.02}, 0.02),
    ],
)
def test_the_noise_of_a_measurement_is_not_fitted(settings, level):
    assert SliceDiffusionInferer.from_preset(**settings).consistency.keywords.get("noise_level") == level


@pytest.mark.parametrize("consistency", [None, DDNM, DDSTV])
def test_noise_costs_less_where_its_level_is_known(consistency):
    geometry = ConeBeamGeometry.paper((24, 24, 4), (8.0, 8.0, 8.0), views=8)
    operator = 0.052 * ConeBeamProjector(geometry)
    volume = 0.3 + 0.1 * torch.randn(1, 1, 24, 24, 4, generator=torch.Generator().manual_seed(1))
    noisy = operator(volume)
    noisy = noisy + 0.5 * torch.randn(noisy.shape, generator=torch.Generator().manual_seed(2))

    def error(level):
        inferer = SliceDiffusionInferer.from_preset(
            steps=4, operator=operator, consistency=consistency, noise_level=level, noise_excess=1.0, progress=False
        )
        return float((inferer(noisy, prior) - volume).square().mean().sqrt())

    assert error(0.5) < 0.9 * error(0.0)


def test_a_consistency_step_without_smoothing_is_left_alone():
    def step(operator, measurement):
        return lambda x0, sigma: x0

    assert SliceDiffusionInferer.from_preset(consistency=step).consistency is step
