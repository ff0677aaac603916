# SPDX-License-Identifier: Apache-2.0
"""Nikon X-Tek scans: `NAME.xtekct` with `NAME_0001.tif`, ..."""

from __future__ import annotations

import configparser
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.scans.readers.naming import naming_file
from monai_iscs.scans.readers.options import Options
from monai_iscs.scans.readers.recording import Recording
from monai_iscs.scans.readers.stack import open_stack

SUFFIX = ".xtekct"
SECTION = "xtekct"


def read_nikon(path: Path, options: Options) -> Recording:
    """A scan by its `.xtekct`, whose TIFF files lie beside it or where it says."""
    options.refuse("geometry", because="the file has its own")
    values = _load(path)
    folder = path.parent / values.get("inputfoldername", "").replace("\\", "/")
    name = values.get("name", path.stem) + values.get("inputseparator", "_")
    pattern = folder / f"{name}*.tif"
    if not folder.is_dir() or not any(folder.glob(pattern.name)):
        raise InputError(f"found no {pattern}, expected its projections (or they as path, and this file as geometry)")
    return read_nikon_images(pattern, path, options)


def read_nikon_images(path: Path, file: Path, options: Options) -> Recording:
    """Images with a `.xtekct` that lies elsewhere."""
    with naming_file(file):
        values = _load(file)
        geometry, air = _geometry(values), _number(values, "WhiteLevel")
    return Recording(stack=open_stack(path), geometry=geometry, kind="counts", air=air)


def _load(file: Path) -> Mapping[str, str]:
    parser = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    parser.read_string(file.read_text(encoding="utf-8", errors="replace"))
    for section in parser.sections():
        if section.lower() == SECTION:
            return {name: value or "" for name, value in parser[section].items()}
    raise InputError("found no section [XTekCT] in it, expected a geometry of Nikon")


def _number(values: Mapping[str, str], name: str, default: float | None = None) -> float:
    text = values.get(name.lower(), "" if default is None else repr(default))
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"found {text!r:.40} as {name}, expected a number")
    return number


def _geometry(values: Mapping[str, str]) -> ConeBeamGeometry:
    """In the axes of the turntable, z along its axis; lengths in mm.

    The source starts at −y and the detector stands at +y; its first row is the top one, and its columns run towards
    −x. The angles rise counter-clockwise by a step that the file says; `.ang` and `_ctdata.txt` files contradict it.
    """
    shape = tuple(int(_number(values, f"DetectorPixels{axis}")) for axis in "YX")
    pitch = tuple(_number(values, f"DetectorPixelSize{axis}") for axis in "YX")
    distance, far = _number(values, "SrcToObject"), _number(values, "SrcToDetector")
    if not 0 < distance < far or min(pitch) <= 0:
        found = f"SrcToObject {distance:g}, SrcToDetector {far:g} and pixels of {pitch[0]:g} x {pitch[1]:g} mm"
        raise InputError(f"found {found}, expected positive lengths and the object before the detector")
    top, bottom = (_number(values, f"CentreOfRotation{end}", 0.0) for end in ("Top", "Bottom"))  # mm, at the detector
    beside = _number(values, "ObjectOffsetX", (top + bottom) / 2 * distance / far)
    roll = _number(values, "ObjectRoll", -math.degrees(math.atan2(top - bottom, shape[0] * pitch[0])))
    axes = _turn(-_number(values, "ObjectTilt", 0.0), 0) @ _turn(roll, 1)  # columns: of the turntable
    views = int(_number(values, "Projections"))
    angles = _number(values, "InitialAngle", 0.0) - 180 + _number(values, "AngularStep") * np.arange(views)
    turns = np.stack([_turn(angle, 2) for angle in angles]) if views > 0 else np.empty((0, 3, 3))

    def seen(*vector: float) -> np.ndarray:
        return turns @ (axes.T @ np.array(vector))

    return ConeBeamGeometry(
        source=seen(beside, -distance, 0.0),
        detector=seen(
            beside - _number(values, "DetectorOffsetX", 0.0),
            far - distance,
            _number(values, "DetectorOffsetY", 0.0),
        ),
        u=seen(-pitch[1], 0.0, 0.0),
        v=seen(0.0, 0.0, -pitch[0]),
        detector_shape=shape,
    )


def _turn(degrees: float, axis: int) -> np.ndarray:
    """(3, 3), counter-clockwise about an axis."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = c, -s, s, c
    return matrix
