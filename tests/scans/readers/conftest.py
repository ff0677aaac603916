# SPDX-License-Identifier: Apache-2.0
"""Files of projections, as scanners and programs write them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import itk
import numpy as np
import pytest

from monai_iscs.operators import ConeBeamGeometry

with warnings.catch_warnings():  # ITK's lazily loaded modules crash where this warning is made an error
    warnings.filterwarnings("ignore", "builtin type [sS]wig", DeprecationWarning)
    itk.MetaImageIO, itk.NrrdImageIO, itk.image_from_array(np.zeros((2, 2), np.float32))

VIEWS, ROWS, COLUMNS = 12, 10, 14
AIR = 20_000


@pytest.fixture(scope="session")
def circle() -> ConeBeamGeometry:
    """12 views of a detector of 10 x 14 pixels."""
    return ConeBeamGeometry.circular(
        source_to_isocenter=100.0,
        source_to_detector=150.0,
        detector_shape=(ROWS, COLUMNS),
        detector_pitch=(2.0, 1.5),
        views=VIEWS,
    )


@pytest.fixture(scope="session")
def integrals() -> np.ndarray:
    """Line integrals (view, v, u) of something round that is off the axis; 0 at the sides. Read only."""
    view, row, column = np.meshgrid(*(np.arange(n) for n in (VIEWS, ROWS, COLUMNS)), indexing="ij")
    middle = (COLUMNS - 1) / 2 + 2 * np.sin(2 * np.pi * view / VIEWS)
    inside = 16 - (column - middle) ** 2 - 0.3 * (row - 4) ** 2
    result = (0.4 * np.sqrt(np.maximum(inside, 0))).astype(np.float32)
    result.setflags(write=False)
    return result


@pytest.fixture(scope="session")
def counts(integrals) -> np.ndarray:
    """What a detector counts, uint16, with its dark field of 100 and its noise. Read only."""
    result = np.random.default_rng(0).poisson(AIR * np.exp(-integrals)) + 100
    result = result.astype(np.uint16)
    result.setflags(write=False)
    return result


@pytest.fixture
def save_stack() -> Callable[..., Path]:
    """``save_stack(path, array)``: a file of ITK's (view, v, u) with the pitch of `circle`, and centred."""

    def save(path: Path, array: np.ndarray, *, compression: bool = False) -> Path:
        image = itk.image_from_array(np.ascontiguousarray(array))
        image.SetSpacing([1.5, 2.0, 1.0])
        image.SetOrigin([-1.5 * (array.shape[2] - 1) / 2, -2.0 * (array.shape[1] - 1) / 2, 0.0])
        itk.imwrite(image, str(path), compression=compression)
        return path

    return save


@pytest.fixture
def save_xml() -> Callable[..., Path]:
    """``save_xml(path, views=12)``: RTK's geometry of `circle`."""

    def save(path: Path, *, views: int = VIEWS, version: str = "3", extra: str = "") -> Path:
        angles = (f"<Projection><GantryAngle>{360 * n / VIEWS!r}</GantryAngle></Projection>" for n in range(views))
        path.write_text(
            f'<?xml version="1.0"?><!DOCTYPE RTKGEOMETRY><RTKThreeDCircularGeometry version="{version}">'
            "<SourceToIsocenterDistance>100</SourceToIsocenterDistance>"
            f"<SourceToDetectorDistance>150</SourceToDetectorDistance>{extra}{''.join(angles)}"
            "</RTKThreeDCircularGeometry>"
        )
        return path

    return save


@pytest.fixture
def rtk_scan(tmp_path, save_stack, save_xml) -> Callable[..., Path]:
    """``rtk_scan(array)``: `scan.mha` with `scan.xml` beside it."""

    def save(array: np.ndarray, name: str = "scan.mha", *, compression: bool = False, **settings: str) -> Path:
        save_xml((tmp_path / name).with_suffix(".xml"), **settings)
        return save_stack(tmp_path / name, array, compression=compression)

    return save
