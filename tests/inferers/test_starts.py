# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from monai_iscs.classical.fdk import fdk
from monai_iscs.errors import InputError
from monai_iscs.inferers.starts import cubic_start, fdk_start, pseudo_inverse_start
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector, ForeignOperator, SliceAveraging


def test_fdk_start_is_in_the_units_of_a_scaled_projector():
    geometry = ConeBeamGeometry.paper((16, 16, 8), (8.0, 8.0, 8.0), views=40)
    operator = 0.5 * (0.104 * ConeBeamProjector(geometry))
    volume = torch.zeros(1, 16, 16, 8)
    volume[:, 4:12, 4:12, 2:6] = 0.4
    start = fdk_start(operator(volume), operator)
    torch.testing.assert_close(start, fdk(ConeBeamProjector(geometry)(volume), geometry), atol=1e-5, rtol=1e-4)
    assert float(start[0, 6:10, 6:10, 3:5].mean()) == pytest.approx(0.4, rel=0.2)  # its pixels are four voxels wide


def test_fdk_start_needs_a_cone_beam():
    operator = ForeignOperator((torch.clone, torch.clone), domain_shape=(2, 2, 2), range_shape=(2, 2, 2))
    with pytest.raises(InputError, match=r"FDK start was asked for ForeignOperator, .*start=None, or from start"):
        fdk_start(torch.zeros(1, 2, 2, 2), operator)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_cubic_start_goes_through_the_thick_slices_centres(axis):
    """A straight line, averaged, comes back between the outermost centres."""
    operator = SliceAveraging((15, 15, 15), factor=5, axis=axis)
    line = torch.arange(15.0).reshape([-1 if a == axis else 1 for a in range(3)]).expand(1, 15, 15, 15)
    start = cubic_start(operator(line), operator)
    assert start.shape == line.shape
    middle = (slice(None), *(slice(2, 13) if a == axis else slice(None) for a in range(3)))
    torch.testing.assert_close(start[middle], line[middle], atol=1e-4, rtol=0)


def test_pseudo_inverse_start_meets_the_measurement():
    operator = SliceAveraging((4, 5, 11), factor=3)
    measurement = torch.rand(2, *operator.range_shape)
    torch.testing.assert_close(operator(pseudo_inverse_start(measurement, operator)), measurement)


@pytest.mark.parametrize(("start", "name"), [(cubic_start, "cubic"), (pseudo_inverse_start, "pseudo-inverse")])
def test_starts_of_thick_slices_need_them(start, name):
    operator = ForeignOperator((torch.clone, torch.clone), domain_shape=(2, 2, 2), range_shape=(2, 2, 2))
    with pytest.raises(InputError, match=f"the {name} start was asked for ForeignOperator"):
        start(torch.zeros(1, 2, 2, 2), operator)
