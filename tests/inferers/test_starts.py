# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from monai_iscs.baselines.fdk import fdk
from monai_iscs.errors import InputError
from monai_iscs.inferers.starts import fdk_start
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector, ForeignOperator


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
    with pytest.raises(InputError, match="FDK start was asked for ForeignOperator"):
        fdk_start(torch.zeros(1, 2, 2, 2), operator)
