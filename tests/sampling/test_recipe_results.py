# SPDX-License-Identifier: Apache-2.0
"""Results of whole recipes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.operators import SliceAveraging
from monai_iscs.priors import Mirrored, SlicePrior
from monai_iscs.sampling import DDNM, DDS, RELEASED, Consistency
from monai_iscs.scans import Measurement


def prior(x, sigma):
    """The exact denoiser of pixels that are N(0.3, 0.1 squared)."""
    return 0.3 + 0.01 / (0.01 + sigma**2) * (x - 0.3)


def result(recipe, measurement, network=prior):
    run = recipe.bind({"prior": network}, measurement)
    for _ in run:
        pass
    return run.volume


@dataclass(frozen=True)
class Idle(Consistency):
    """A consistency step that does nothing, as a user would write one."""

    label = "Idle"

    def bind(self, measurement, axis):
        return lambda x0, sigma: x0


def test_a_consistency_step_without_smoothing_is_left_alone():
    recipe = replace(RELEASED, consistency=Idle())
    assert recipe.changed(smoothing=0.0) == recipe
    with pytest.raises(InputError, match=r"smoothing: found 0\.3 with Idle"):
        recipe.changed(smoothing=0.3)


@pytest.mark.parametrize("name", ["default", "fast", "limited-angle", "released", "paper"])
@pytest.mark.parametrize("consistency", [None, DDNM(smoothing=0.65), DDS()])
def test_recipes_meet_the_measurement_of_a_cone_beam(recipes, cone_beam, name, consistency):
    """The volume differs from the prior's mean: without the consistency step the result is wrong."""
    operator = 0.052 * cone_beam((16, 16, 4), 8.0, views=8)
    x = torch.linspace(0, 3, 16)
    volume = 0.3 + 0.2 * torch.sin(x)[:, None, None] * torch.cos(x)[:, None] * torch.tensor([1.0, 0.9, 0.8, 0.7])
    measurement = Measurement(operator(volume[None]), operator)
    recipe = recipes[name].changed(steps=4)

    def missed(step):
        found = result(replace(recipe, consistency=step), measurement)
        return float((operator(found) - measurement.data).norm()), float((found - volume).norm())

    (left, error), (left_alone, error_alone) = missed(consistency or recipe.consistency), missed(Idle())
    assert left < 0.4 * left_alone
    assert error < 0.8 * error_alone


@pytest.mark.parametrize("method", ["dds+iscs", "ddnm+iscs"])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_super_resolution_from_thick_slices(recipes, method, noise):
    """The volume is smooth in the thick slices' plane, so that their noise can be estimated."""
    x = torch.linspace(0, 3, 24)
    volume = (0.3 + 0.2 * torch.sin(x)[:, None, None] * torch.cos(x)[:, None] * torch.sin(2 * x[:20]))[None]
    operator = SliceAveraging((24, 24, 20), factor=4)
    measured = operator(volume)
    measured = measured + noise * torch.randn(measured.shape, generator=torch.Generator().manual_seed(1))
    recipe = recipes["super-resolution"].method(method).changed(steps=4)
    found = result(recipe, Measurement(measured, operator))
    left = float((operator(found) - measured).square().mean().sqrt())
    assert left == pytest.approx(noise, rel=0.2, abs=1e-4)
    assert (found - volume).square().mean().sqrt() < 0.08


@pytest.mark.parametrize("method", ["dds+iscs", "ddnm+iscs", "dds+tv+iscs"])
def test_noise_costs_less_where_its_level_is_known(recipes, cone_beam, method):
    operator = 0.052 * cone_beam((24, 24, 4), 8.0, views=8)
    volume = 0.3 + 0.1 * torch.randn(1, 24, 24, 4, generator=torch.Generator().manual_seed(1))
    noisy = operator(volume)
    noisy = noisy + 0.5 * torch.randn(noisy.shape, generator=torch.Generator().manual_seed(2))
    recipe = recipes["default"].method(method).changed(steps=4)
    recipe = replace(recipe, prior=replace(recipe.prior, prior=Mirrored(SlicePrior(2), mirror=0)))

    def error(level):
        found = result(recipe, Measurement(noisy, operator, noise_level=level))
        return float((found - volume).square().mean().sqrt())

    assert error(0.5) < 0.9 * error(0.0)
