# SPDX-License-Identifier: Apache-2.0
"""benchmarks/border_rays.py with a hundred scans, instead of the thousands there."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from monai_iscs.operators.backends.numba_joseph import neighbours, span


@pytest.fixture(scope="module")
def border_rays():
    path = Path(__file__).parents[2] / "benchmarks" / "border_rays.py"
    spec = spec_from_file_location("border_rays", path)
    module = module_from_spec(spec)
    sys.modules["border_rays"] = module  # typing looks up the module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("backend", ["numba", "torch", "triton"])
def test_a_ray_on_the_border_sees_and_touches_nothing_outside(border_rays, backend):
    if backend == "triton":
        pytest.importorskip("triton")
    scans = list(border_rays.scans(102 if backend != "triton" else 33))  # its interpreter is slow
    assert sum(map(border_rays.on_the_border, scans)) > 0.3 * len(scans)
    found = [border_rays.examine(scan, backend) for scan in scans]
    assert not any(fault.trespasses for fault in found)
    assert max(fault.mismatch for fault in found) < 1e-6
    assert max(fault.forward for fault in found) < 1e-5
    assert max(fault.adjoint for fault in found) < 1e-5


@pytest.mark.parametrize("count", [1, 2, 7])
def test_neighbours_stay_inside_wherever_the_position_is(count):
    for position in (-1e9, -2.0, np.nextafter(-1.0, -2.0), -1.0, np.nextafter(-1.0, 0.0), -0.25, 0.0, 0.5, 6.75):
        for at in (position, count + position, np.nextafter(count + position, 1e9)):
            a, b, weight_a, weight_b = neighbours(at, count)
            assert 0 <= a < count
            assert 0 <= b < count
            total = sum(max(1 - abs(at - index), 0.0) for index in range(count))
            assert weight_a + weight_b == pytest.approx(total, abs=1e-6)


@pytest.mark.parametrize("slope", [0.0, 1e-300, -1e-300, 3e-20, -1e-17, 0.25, -1.0, 7.0])
def test_span_stays_in_its_range(slope):
    for offset in (-5.0, -1.0, np.nextafter(-1.0, -2.0), 0.0, 2.5, 4.0, np.nextafter(4.0, 5.0), 40.0):
        low, high = span(offset, slope, 4, 2, 9)
        assert 2 <= low <= 9
        inside = [k for k in range(2, 9) if -1 < offset + slope * k < 4]
        assert set(inside) <= set(range(low, high))
        assert all(-1 - 1e-9 <= offset + slope * k <= 4 + 1e-9 for k in range(low, high))
