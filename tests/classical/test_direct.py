# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from monai_iscs.classical import cubic, direct, fdk, sirt
from monai_iscs.classical.direct import direct_method
from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector, GaussianSmoothing, SliceAveraging
from monai_iscs.scans import Measurement
from monai_iscs.solvers import SIRT

GRID = Grid.centered((12, 10, 6), (20.0, 20.0, 20.0))
CONE = ConeBeamProjector(ConeBeamGeometry.paper(GRID, views=4), GRID)
SMOOTH = GaussianSmoothing(GRID.shape, std=0.6, axis=2)


def scan(*, up: float = 0.0, away: float = 0.0) -> ConeBeamGeometry:
    """Two turns, rising by `up` mm and receding by `away` mm from the first view to the last."""
    angles = np.linspace(0, 4 * np.pi, 24)
    circle = ConeBeamGeometry.circular(
        source_to_isocenter=700,
        source_to_detector=1200,
        angles=angles,
        detector_shape=(10, 36),
        detector_pitch=(14.0, 14.0),
    )
    share = (np.arange(24) / 23 - 0.5)[:, None]
    out = np.stack([np.cos(angles), np.sin(angles), np.zeros(24)], 1)
    shift = share * (up * np.array([0, 0, 1]) + away * out)
    return replace(circle, source=circle.source + shift, detector=circle.detector + up * share * [0, 0, 1])


HELIX = ConeBeamProjector(scan(up=100.0), GRID)
METHODS = {
    "projections": (CONE, fdk),
    "thick slices": (SliceAveraging(GRID.shape, factor=2), cubic),
    "a helix": (HELIX, sirt),
    "anything else": (SMOOTH, sirt),
    "projections of a smoothed volume": (CONE @ SMOOTH, sirt),
}


@pytest.mark.parametrize("scale", [1.0, 0.052, -2.0])
@pytest.mark.parametrize(("A", "method"), METHODS.values(), ids=METHODS.keys())
def test_the_operator_decides(A, method, scale):
    y = torch.rand(2, *A.range_shape, generator=torch.Generator().manual_seed(0))
    measurement = Measurement(scale * y, scale * A)
    found = direct(measurement)
    assert direct_method(scale * A) == method.__name__
    assert found.shape == measurement.volume_shape
    assert torch.equal(found, method(measurement))
    torch.testing.assert_close(found, method(Measurement(y, A)), rtol=1e-3, atol=1e-4)


def test_the_start_of_a_helix_is_near_the_truth():
    x, y, z = (torch.linspace(-1, 1, n) for n in GRID.shape)
    truth = ((x[:, None, None] / 0.7) ** 2 + (y[:, None] / 0.6) ** 2 + (z / 0.9) ** 2 < 1).float()
    truth[3:6, 4:6, 2:4] = 1.5
    found = direct(Measurement(HELIX(truth)[None], HELIX))[0]
    assert (found - truth).norm() < 0.2 * truth.norm()


def test_scanners_that_flex_are_circles():
    """RTK's nine parameters with offsets of some mm, in all directions."""
    random = np.random.default_rng(0)
    some = iter(random.normal(0, 4, (6, 24)))
    flexing = ConeBeamGeometry.from_rtk(
        source_to_isocenter=700 + next(some),
        source_to_detector=1200 + next(some),
        gantry_angle=15 * np.arange(24),
        projection_offset=(next(some), next(some)),
        source_offset=(next(some), next(some)),
        detector_shape=(10, 36),
        detector_pitch=(14.0, 14.0),
    )
    assert direct_method(ConeBeamProjector(flexing, GRID)) == "fdk"
    assert direct_method(ConeBeamProjector(scan(up=30.0, away=60.0), GRID)) == "fdk"


def test_tilted_detectors_are_not_for_fdk():
    tilted = replace(scan(), u=scan().u + 0.05 * scan().v, v=scan().v - 0.05 * scan().u)
    assert direct_method(ConeBeamProjector(tilted, GRID, backend="rtk")) == "sirt"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (scan(up=100.0), r"a source that moves 100\.0 mm along z, between views 0 and 23, 700\.0 mm from the axis"),
        (scan(up=-50.0), r"a source that moves 50\.0 mm along z, between views 23 and 0"),
        (scan(away=400.0), r"a source \d+\.\d mm from the axis in view \d+, and \d+\.\d mm on average"),
    ],
)
def test_fdk_refuses_other_paths(path, found):
    A = ConeBeamProjector(path, GRID)
    with pytest.raises(
        InputError, match=rf"^fdk: found {found}.*, expected a circle or an arc \(sirt and admm_tv take"
    ):
        fdk(Measurement(torch.zeros(1, *A.range_shape), A))
    assert direct_method(A) == "sirt"


def test_fdk_of_rows_that_fall():
    truth = torch.rand(GRID.shape, generator=torch.Generator().manual_seed(0))
    rising = scan()
    falling = replace(rising, v=-rising.v)
    up, down = (fdk(Measurement(A(truth)[None], A)) for A in (ConeBeamProjector(s, GRID) for s in (rising, falling)))
    torch.testing.assert_close(down, up, rtol=1e-4, atol=1e-5)


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
