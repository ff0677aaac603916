# SPDX-License-Identifier: Apache-2.0
"""What lies between the loop and the prior: the level it is told, mirrored slices, values kept above zero."""

from __future__ import annotations

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.inferers import SliceDiffusionInferer
from monai_iscs.operators import ForeignOperator
from monai_iscs.sampling import SlerpNoise


def test_the_prior_is_told_more_than_the_noise_that_was_added():
    """With an excess of 2 the prior hears twice the levels at which the noise is drawn."""
    told, drawn = [], []

    class Noise(SlerpNoise):
        def __call__(self, like, sigma):
            drawn.append(sigma)
            return super().__call__(like, sigma)

    def prior(x, sigma):
        told.append(float(sigma))
        return x

    operator = ForeignOperator((lambda x: x, lambda y: y), domain_shape=(4, 4, 3), range_shape=(4, 4, 3))
    inferer = SliceDiffusionInferer(
        sigmas=[0.4, 0.2, 0.1], operator=operator, noise=Noise(), noise_excess=2, progress=False
    )
    inferer(torch.rand(1, 1, 4, 4, 3), prior)
    assert drawn == pytest.approx([0.4, 0.2, 0.1])
    assert told == pytest.approx([0.8, 0.4, 0.2])
    with pytest.raises(InputError, match=r"noise_excess is 0\.5"):
        SliceDiffusionInferer(sigmas=[1.0], noise_excess=0.5)


def test_every_other_step_shows_the_prior_mirrored_slices():
    """What comes back is mirrored back: a prior that returns what it sees changes nothing."""
    seen = []

    def prior(x, sigma):
        seen.append(x.clone())
        return x

    operator = ForeignOperator((lambda x: x, lambda y: y), domain_shape=(4, 6, 3), range_shape=(4, 6, 3))
    measurement = torch.rand(1, 1, 4, 6, 3)
    settings = {"sigmas": [0.3, 0.2, 0.1], "operator": operator, "progress": False}
    plain = SliceDiffusionInferer(**settings)(measurement, prior)
    straight, seen[:] = list(seen), []
    mirrored = SliceDiffusionInferer(**settings, mirror=1)(measurement, prior)
    torch.testing.assert_close(mirrored, plain)
    for step, (a, b) in enumerate(zip(straight, seen, strict=True)):
        torch.testing.assert_close(b, a.flip(3) if step == 1 else a)
    with pytest.raises(InputError, match="mirror is 2"):
        SliceDiffusionInferer(sigmas=[1.0], mirror=2)


def test_negative_values_can_be_kept_out():
    """Of the prior's estimates, and of the result that conjugate gradients left negative somewhere."""
    operator = ForeignOperator((lambda x: x, lambda y: y), domain_shape=(4, 4, 3), range_shape=(4, 4, 3))
    measurement = torch.rand(1, 1, 4, 4, 3) - 0.5
    estimates = []
    settings = {"sigmas": [0.3, 0.1], "operator": operator, "progress": False, "callback": estimates.append}
    free = SliceDiffusionInferer(**settings)(measurement, lambda x, sigma: x - 0.5)
    assert min(float(step.x0.min()) for step in estimates) < 0
    torch.testing.assert_close(free, measurement)
    estimates.clear()
    bounded = SliceDiffusionInferer(**settings, non_negative=True)(measurement, lambda x, sigma: x - 0.5)
    assert min(float(step.x0.min()) for step in estimates) == 0
    torch.testing.assert_close(bounded, measurement.clamp(min=0))
