# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from monai_iscs.classical import cubic, fdk, sirt
from monai_iscs.errors import InputError
from monai_iscs.operators import ForeignOperator, SliceAveraging
from monai_iscs.sampling import FDK, Cubic, Direct, Recipe, Start, Zeros
from monai_iscs.scans import Measurement

IDENTITY = ForeignOperator((torch.clone, torch.clone), domain_shape=(2, 2, 2), range_shape=(2, 2, 2))


def start(plug, operator, volume, scale=1.0):
    return plug.bind(Measurement(scale * operator(volume), scale * operator))()


def test_fdk_start_is_in_the_units_of_a_scaled_projector(cone_beam):
    operator = cone_beam((16, 16, 8), 8.0, views=40)
    volume = torch.zeros(1, 16, 16, 8)
    volume[:, 4:12, 4:12, 2:6] = 0.4
    found = start(FDK(), 0.104 * operator, volume, 0.5)
    torch.testing.assert_close(found, fdk(Measurement(operator(volume), operator)), atol=1e-5, rtol=1e-4)
    assert float(found[0, 6:10, 6:10, 3:5].mean()) == pytest.approx(0.4, rel=0.2)  # its pixels are four voxels wide


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_cubic_start_goes_through_the_thick_slices_centres(axis):
    """An averaged straight line is restored between the outermost centres."""
    operator = SliceAveraging((15, 15, 15), factor=5, axis=axis)
    line = torch.arange(15.0).reshape([-1 if a == axis else 1 for a in range(3)]).expand(1, 15, 15, 15)
    found = start(Cubic(), operator, line, 2.0)
    assert found.shape == line.shape
    middle = (slice(None), *(slice(2, 13) if a == axis else slice(None) for a in range(3)))
    torch.testing.assert_close(found[middle], line[middle], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("plug", "name"), [(FDK(), "fdk"), (Cubic(), "cubic")])
def test_starts_need_their_scanner(plug, name):
    with pytest.raises(InputError, match=f"{name}: found a measurement of ForeignOperator, expected one of"):
        start(plug, IDENTITY, torch.zeros(1, 2, 2, 2))


def test_the_direct_start_is_what_the_operator_allows(cone_beam):
    volume = torch.rand(2, 16, 16, 8, generator=torch.Generator().manual_seed(0))
    small = volume[..., :2, :2, :2]
    for operator, x, method in (
        (0.1 * cone_beam((16, 16, 8), 8.0, views=10), volume, fdk),
        (SliceAveraging((16, 16, 8), factor=2), volume, cubic),
        (IDENTITY, small, sirt),
    ):
        assert torch.equal(start(Direct(), operator, x), method(Measurement(operator(x), operator)))


@pytest.mark.parametrize("plug", [Zeros(), Direct()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_and_type_are_the_measurement_s(plug, dtype):
    operator = SliceAveraging((4, 5, 6), factor=2)
    found = start(plug, operator, torch.rand(3, 4, 5, 6, dtype=dtype))
    assert (found.shape, found.dtype) == ((3, 4, 5, 6), dtype)
    assert bool((found == 0).all()) == (plug == Zeros())


def test_a_start_of_one_s_own():
    """It only gets the measurement, when it is needed."""
    asked = []

    @dataclass(frozen=True)
    class Mean(Start):
        share: float = 1.0

        def volume(self, measurement):
            asked.append(measurement)
            return measurement.data.mean() * self.share * torch.ones(measurement.volume_shape)

    measurement = Measurement(torch.full((1, 2, 2, 2), 3.0), IDENTITY)
    recipe = Recipe(start=Mean(2.0))
    run = recipe.bind({"prior": lambda x, sigma: x}, measurement)
    assert asked == []
    assert torch.equal(run.plugs.start(), torch.full((1, 2, 2, 2), 6.0))
    assert asked == [measurement]
    assert recipe.as_dict()["start"] == {"name": "Mean", "share": 2.0}
