# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from monai_iscs.operators.circle import seen_arc


@pytest.mark.parametrize(
    ("degrees", "arc"),
    [
        ([], 0),
        ([17], 0),
        ([17, 17, 17], 0),
        (np.arange(0, 360, 30), 360),
        (np.arange(0, 100, 10), 100),
        (np.arange(-50, 50, 10), 100),  # over 0
        (np.arange(0, 720, 24), 360),  # two turns
        (np.random.default_rng(0).permutation(np.arange(300, 420, 5)), 120),  # in any order
        (np.arange(350, 370), 20),
    ],
)
def test_the_arc_of_some_views(degrees, arc):
    assert seen_arc(np.radians(np.asarray(degrees, float))) == pytest.approx(arc, abs=1e-9)
