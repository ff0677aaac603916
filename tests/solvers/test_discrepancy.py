# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.solvers import Discrepancy


def test_an_image_that_is_off_by_the_noise_meets_the_measurement(projector):
    x = torch.rand(projector.domain_shape, generator=torch.Generator().manual_seed(0))
    y = projector(x) + 0.5
    found = Discrepancy(projector, y, 0.5)
    assert found.norm == pytest.approx(0.5 * y.numel() ** 0.5)
    assert found.excess(x) == pytest.approx(0, abs=1e-3 * found.norm**2)
    assert found.excess(0 * x) > found.norm**2
    assert found.share(y - projector(0.5 * x)) == pytest.approx(found.norm / float((y - projector(0.5 * x)).norm()))
    assert found.share(0 * y) == 1


def test_without_noise_nothing_is_enough(projector):
    found = Discrepancy(projector, torch.zeros(projector.range_shape), 0.0)
    assert found.excess(torch.zeros(projector.domain_shape)) == math.inf
    assert found.share(torch.ones(3)) == 0


def test_bad_arguments(projector):
    with pytest.raises(InputError, match="noise_level: found -1"):
        Discrepancy(projector, torch.zeros(projector.range_shape), -1.0)
    with pytest.raises(InputError, match="complex"):
        Discrepancy(projector, torch.zeros(projector.range_shape, dtype=torch.complex64), 0.0)
