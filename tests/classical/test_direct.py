# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from monai_iscs.classical import cubic, direct, fdk, sirt
from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector, GaussianSmoothing, SliceAveraging
from monai_iscs.scans import Measurement
from monai_iscs.solvers import SIRT

GRID = Grid.centered((12, 10, 6), (20.0, 20.0, 20.0))
CONE = ConeBeamProjector(ConeBeamGeometry.paper(GRID, views=4), GRID)
SMOOTH = GaussianSmoothing(GRID.shape, std=0.6, axis=2)
METHODS = {
    "projections": (CONE, fdk),
    "thick slices": (SliceAveraging(GRID.shape, factor=2), cubic),
    "anything else": (SMOOTH, sirt),
    "projections of a smoothed volume": (CONE @ SMOOTH, sirt),
}


@pytest.mark.parametrize("scale", [1.0, 0.052, -2.0])
@pytest.mark.parametrize(("A", "method"), METHODS.values(), ids=METHODS.keys())
def test_the_operator_decides(A, method, scale):
    y = torch.rand(2, *A.range_shape, generator=torch.Generator().manual_seed(0))
    measurement = Measurement(scale * y, scale * A)
    found = direct(measurement)
    assert found.shape == measurement.volume_shape
    assert torch.equal(found, method(measurement))
    torch.testing.assert_close(found, method(Measurement(y, A)), rtol=1e-3, atol=1e-4)


def test_sirt_of_a_measurement():
    y = CONE(torch.rand(2, *GRID.shape, generator=torch.Generator().manual_seed(0)) - 0.5)
    measurement = Measurement(y, CONE)
    assert torch.equal(sirt(measurement), SIRT(CONE, non_negative=True)(y))
    free = sirt(measurement, non_negative=False, iterations=7)
    assert torch.equal(free, SIRT(CONE, iterations=7)(y))
    assert free.min() < 0 == sirt(measurement).min()


@pytest.mark.parametrize("method", [cubic, direct, fdk, sirt])
def test_what_measures_nothing(method):
    A = SliceAveraging(GRID.shape, factor=2) if method is cubic else CONE
    with pytest.raises(InputError, match="operator: found 0 times"):
        method(Measurement(torch.rand(1, *A.range_shape), 0.0 * A))
