# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector


@pytest.fixture(scope="session")
def phantoms():
    """benchmarks/phantoms.py, which is not a package."""
    path = Path(__file__).parents[2] / "benchmarks" / "phantoms.py"
    spec = spec_from_file_location("phantoms", path)
    module = module_from_spec(spec)
    sys.modules["phantoms"] = module  # dataclasses look up their module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def needs():
    """Skips a test where a package is missing; imports it, without the warnings that it makes then."""

    def check(package: str) -> None:
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import_module(package.split(".")[0])  # itk loads its own parts when they are used

    return check


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A circular scan about the origin and the grid of its volumes, as numbers that tests can change."""

    volume_shape: tuple[int, int, int] = (20, 20, 20)
    voxel_spacing: tuple[float, float, float] = (10.0, 10.0, 10.0)
    volume_offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    source_to_isocenter: float = 700.0
    source_to_detector: float = 1200.0
    angles: tuple[float, ...] = tuple(2 * np.pi * view / 7 for view in range(7))
    detector_shape: tuple[int, int] = (28, 32)
    detector_pitch: tuple[float, float] = (14.0, 12.0)
    detector_offset: tuple[float, float] = (0.0, 0.0)
    curved: bool = False
    source_shift: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def grid(self) -> Grid:
        return Grid.centered(self.volume_shape, self.voxel_spacing, center=self.volume_offset)

    @property
    def geometry(self) -> ConeBeamGeometry:
        flat = ConeBeamGeometry.circular(
            source_to_isocenter=self.source_to_isocenter,
            source_to_detector=self.source_to_detector,
            angles=self.angles,
            detector_shape=self.detector_shape,
            detector_pitch=self.detector_pitch,
            detector_offset=(self.detector_offset[0], 0.0 if self.curved else self.detector_offset[1]),
        )
        if not self.curved:
            return flat
        about = flat.source + np.array([0, 0, self.detector_offset[0]])
        curved = replace(flat, curved_about=about, source=flat.source + self.source_shift)
        shift = self.detector_offset[1] / self.detector_pitch[1]
        wide = replace(curved, detector_shape=(self.detector_shape[0], 1))
        middle = wide.binned((0, shift), (self.detector_shape[0], 1), (1, 1))
        return replace(middle, detector_shape=self.detector_shape)

    @property
    def projection_shape(self) -> tuple[int, int, int]:
        return self.geometry.projection_shape

    def projector(self, backend: str = "auto") -> ConeBeamProjector:
        return ConeBeamProjector(self.geometry, self.grid, backend=backend)


_PLAIN = Setup()

SETUPS = {
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
    "curved": replace(_PLAIN, curved=True, detector_offset=(-17.0, 37.0), voxel_spacing=(8.0, 9.0, 10.0)),
    "curved, the source beside its place": replace(_PLAIN, curved=True, source_shift=(23.0, -31.0, 11.0)),
    "curved, wide, corners leave it": replace(
        _PLAIN, curved=True, detector_shape=(9, 70), detector_pitch=(30.0, 29.0), source_shift=(-40.0, 60.0, 0.0)
    ),
}


@pytest.fixture(params=SETUPS.values(), ids=SETUPS.keys())
def setup(request) -> Setup:
    return request.param


@pytest.fixture
def plain() -> Setup:
    return _PLAIN
