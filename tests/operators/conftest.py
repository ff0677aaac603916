# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from monai_iscs.operators import ConeBeamGeometry


@pytest.fixture(scope="session")
def phantoms():
    """benchmarks/phantoms.py, which is no package."""
    path = Path(__file__).parents[2] / "benchmarks" / "phantoms.py"
    spec = spec_from_file_location("phantoms", path)
    module = module_from_spec(spec)
    sys.modules["phantoms"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


_PLAIN = ConeBeamGeometry.circular(
    views=7,
    volume_shape=(20, 20, 20),
    voxel_spacing=(10.0, 10.0, 10.0),
    source_to_isocenter=700.0,
    source_to_detector=1200.0,
    detector_shape=(28, 32),
    detector_pitch=(14.0, 12.0),
)

GEOMETRIES = {
    "plain": _PLAIN,
    "non-cubic, anisotropic": replace(_PLAIN, volume_shape=(24, 17, 9), voxel_spacing=(6.0, 9.0, 13.0)),
    "detector and volume offset": replace(
        _PLAIN, detector_offset=(-17.0, 61.0), volume_offset=(12.0, -31.0, 22.0), voxel_spacing=(8.0, 9.0, 10.0)
    ),
    "clockwise arc": replace(
        _PLAIN, angles=tuple(reversed([0.3 + 0.25 * view for view in range(7)])), volume_shape=(15, 22, 11)
    ),
    "corners leave the detector": replace(_PLAIN, detector_shape=(9, 10), voxel_spacing=(16.0, 16.0, 16.0)),
    "one row, one slice": replace(_PLAIN, detector_shape=(1, 32), volume_shape=(20, 20, 1)),
    "one row off the middle of two slices": replace(
        _PLAIN, detector_shape=(1, 32), volume_shape=(20, 20, 2), detector_offset=(4.0, 0.0)
    ),
    "one view along an axis": replace(_PLAIN, angles=(0.0,), detector_shape=(5, 1)),
}


@pytest.fixture(params=GEOMETRIES.values(), ids=GEOMETRIES.keys())
def geometry(request) -> ConeBeamGeometry:
    return request.param


@pytest.fixture
def plain() -> ConeBeamGeometry:
    return _PLAIN
