# SPDX-License-Identifier: Apache-2.0
"""Files of projections, as scanners and programs write them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def _part(center: tuple[Any, ...], u: tuple[float, ...], w: tuple[float, ...]) -> dict[str, Any]:
    return {
        "center": dict(zip("xyz", center, strict=True)),
        "vector_u": {axis: {"value": value} for axis, value in zip("xyz", u, strict=True)},
        "vector_w": {axis: {"value": value} for axis, value in zip("xyz", w, strict=True)},
        "deviations": [],
    }


def _length(value: float, unit: str = "mm") -> dict[str, Any]:
    return {"value": value, "unit": unit}


def _scenario(**acquisition: Any) -> dict[str, Any]:
    """A CTSimU scenario of seven views of 6 x 8 pixels, whose parts stand askew."""
    return {
        "file": {"file_type": "CTSimU Scenario", "file_format_version": {"major": 1, "minor": 2}},
        "geometry": {
            "detector": _part((_length(40.5, "cm"), _length(3), _length(-4)), (0, -2, 0.2), (3, 0.02, 0.2)),
            "source": {
                "type": "cone",
                **_part((_length(1), _length(-2000, "um"), _length(0.003, "m")), (0, -1, 0), (1, 0, 0)),
            },
            "stage": _part((_length(300), _length(1), _length(2)), (1, 0.1, 0), (-0.02, 0.2, 2)),
        },
        "detector": {
            "columns": {"value": 8, "unit": "px"},
            "rows": {"value": 6, "unit": "px"},
            "pixel_pitch": {"u": _length(1.5), "v": _length(0.2, "cm")},
        },
        "source": {"voltage": {"value": 130, "unit": "kV"}},
        "acquisition": {
            "start_angle": {"value": 10, "unit": "deg"},
            "stop_angle": {"value": 250, "unit": "deg"},
            "direction": "CW",
            "number_of_projections": 7,
            "include_final_angle": True,
            **acquisition,
        },
    }


def _metadata(**projections: Any) -> dict[str, Any]:
    """Of `scan.raw`, with a dark field and three flat ones."""
    return {
        "file": {"file_type": "CTSimU Metadata", "file_format_version": {"major": 1, "minor": 2}},
        "output": {
            "projections": {
                "filename": "scan.raw",
                "number": 7,
                "max_intensity": 60000,
                "datatype": "uint16",
                "byteorder": "little",
                "headersize": {"file": 0, "image": 0},
                "dimensions": {"x": {"value": 8, "unit": "px"}, "y": {"value": 6, "unit": "px"}},
                "pixelsize": {"x": _length(1.5), "y": _length(2)},
                "dark_field": {"number": 1, "filename": "dark.raw", "projections_corrected": False},
                "flat_field": {"number": 3, "filename": "flat_%04d.raw", "projections_corrected": False},
                **projections,
            }
        },
        "acquisition_geometry": {"path_to_CTSimU_JSON": "../scenario.json"},
    }


@pytest.fixture(scope="session")
def seven() -> np.ndarray:
    """Line integrals of the seven views of `ctsimu_scan`."""
    return np.random.default_rng(0).uniform(0, 3, (7, 6, 8))


@pytest.fixture
def ctsimu_scan(tmp_path, seven) -> Callable[..., Path]:
    """``ctsimu_scan(projections=, **acquisition)``: the metadata of a scan in files; these entries are replaced."""

    def save(*, projections: dict[str, Any] | None = None, **acquisition: Any) -> Path:
        folder = tmp_path / "images"
        folder.mkdir()
        counts = 100 + 50_000 * np.exp(-seven)
        (folder / "scan.raw").write_bytes(np.round(counts).astype("<u2").tobytes())
        (folder / "dark.raw").write_bytes(np.full((6, 8), 100, "<u2").tobytes())
        for number in range(3):
            flat = np.full((6, 8), 50_100 + 10 * (number - 1), "<u2")
            (folder / f"flat_{number:04d}.raw").write_bytes(flat.tobytes())
        (tmp_path / "scenario.json").write_text(json.dumps(_scenario(**acquisition)))
        (folder / "scan.json").write_text(json.dumps(_metadata(**(projections or {}))))
        return folder / "scan.json"

    return save
