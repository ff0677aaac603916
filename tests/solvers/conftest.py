# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector


@pytest.fixture
def projector() -> ConeBeamProjector:
    geometry = ConeBeamGeometry.circular(
        views=7,
        source_to_isocenter=700.0,
        source_to_detector=1200.0,
        detector_shape=(28, 32),
        detector_pitch=(14.0, 12.0),
    )
    return ConeBeamProjector(geometry, Grid.centered((20, 20, 20), (10.0, 10.0, 10.0)))
