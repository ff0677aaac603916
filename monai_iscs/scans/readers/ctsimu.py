# SPDX-License-Identifier: Apache-2.0
"""CTSimU scans: a scenario in JSON, metadata in JSON that name the images, and raw or TIFF images."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.scans.readers.naming import FileError, naming_file
from monai_iscs.scans.readers.options import Options
from monai_iscs.scans.readers.packed import Packed
from monai_iscs.scans.readers.recording import Recording
from monai_iscs.scans.readers.stack import Stack, joined, numbered, open_stack

LENGTHS = {"nm": 1e-6, "um": 1e-3, "mm": 1.0, "cm": 10.0, "dm": 100.0, "m": 1000.0}
ANGLES = {"deg": 1.0, "rad": 180 / np.pi}
PIXELS = {"px": 1.0}
SUFFIX = ".json"


def read_ctsimu(path: Path, options: Options) -> Recording:
    """A scan by its metadata file, whose scenario lies beside it, where it says, or where `geometry` says."""
    metadata = _load(path)
    if "output" not in metadata:
        raise InputError("found no 'output' in it, expected CTSimU metadata (..._metadata.json), which name the images")
    scenario_file = options.geometry_file or _scenario_file(path, metadata)
    scenario = _load(scenario_file)
    output = metadata["output"]["projections"]
    shape = tuple(int(_number(output["dimensions"][axis], PIXELS)) for axis in "yx")
    pitch = tuple(_number(output["pixelsize"][axis], LENGTHS) for axis in "yx")
    with naming_file(scenario_file):
        _check_detector(scenario["detector"], shape, pitch)
        geometry = _geometry(scenario, shape, pitch)
    stack, notes = _images(path, output, output, shape, "projections")
    air, dark = None, 0.0
    for name in ("dark_field", "flat_field"):
        field = output.get(name) or {}
        if field.get("projections_corrected"):
            air = float(output["max_intensity"])
        elif field.get("filename"):
            images, more = _images(path, field, output, shape, name.replace("_", " "))
            notes += more
            air, dark = (images.mean(), dark) if name == "flat_field" else (air, images.mean())
    if air is None and output.get("max_intensity"):
        air = float(output["max_intensity"])
        if options.air is None and options.flat is None:
            notes += (f"the counts of air were taken to be the file's max_intensity ({air:g})",)
    return Recording(stack=stack, geometry=geometry, kind="counts", air=air, dark=dark, notes=notes)


def _load(path: Path) -> dict[str, Any]:
    with naming_file(path):
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise InputError("found no object in it, expected one of CTSimU")
        return found


def _scenario_file(path: Path, metadata: Mapping[str, Any]) -> Path:
    name = (metadata.get("acquisition_geometry") or {}).get("path_to_CTSimU_JSON")
    if not name:
        raise InputError("found no acquisition_geometry.path_to_CTSimU_JSON in it, expected a geometry to be given")
    for place in (path.parent / name, path.parent / Path(name).name):
        if place.is_file():
            return place
    raise InputError(f"found no {name}, expected the scenario that it names, or another geometry")


def _number(value: Any, units: Mapping[str, float], name: str = "") -> float:
    """A value with its unit, in mm, degrees or pixels; `{"value": 3, "unit": "cm"}` or a plain number."""
    if isinstance(value, Mapping):
        if value.get("drifts"):
            raise InputError(f"found drifts of {name or 'a value'}, expected a fixed one (vectors can say drifts)")
        unit, value = value.get("unit") or next(key for key, factor in units.items() if factor == 1), value.get("value")
    else:
        unit = next(key for key, factor in units.items() if factor == 1)
    if unit not in units or isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise InputError(f"found {value!r:.40} {unit} as {name or 'a value'}, expected a number in {', '.join(units)}")
    return value * units[unit]


def _check_detector(detector: Mapping[str, Any], shape: tuple[int, int], pitch: tuple[float, float]) -> None:
    """Raise an `InputError` unless the images, binned or not, cover the scenario's detector."""
    for name, axis, count, size in zip(("rows", "columns"), "vu", shape, pitch, strict=True):
        pixels, step = _number(detector[name], PIXELS, name), _number(detector["pixel_pitch"][axis], LENGTHS, "pitch")
        if abs(pixels * step - count * size) > step / 2:
            raise InputError(
                f"found {pixels:g} {name} of {step:g} mm, expected the metadata's {count} of {size:g} mm: another scan?"
            )


def _geometry(scenario: Mapping[str, Any], shape: tuple[int, int], pitch: tuple[float, float]) -> ConeBeamGeometry:
    """In the axes of the stage (u, v, w) before it turns, w being the axis of rotation."""
    parts = scenario["geometry"]
    if (kind := parts["source"].get("type") or "cone") != "cone":
        raise InputError(f"found a source of type {kind!r}, expected 'cone'")
    source, detector, stage = (_placed(parts[name], name) for name in ("source", "detector", "stage"))
    center, axes = stage
    # the stage turns with the object: seen from there, everything else turns the other way
    turns = np.radians(_angles(scenario["acquisition"]))
    cos, sin, zero, one = np.cos(turns), np.sin(turns), np.zeros_like(turns), np.ones_like(turns)
    stage_axes = np.array([[cos, sin, zero], [-sin, cos, zero], [zero, zero, one]]).transpose(2, 0, 1) @ axes

    def seen(vector: np.ndarray) -> np.ndarray:
        return stage_axes @ vector

    across, down = detector[1][:2]
    return ConeBeamGeometry(
        source=seen(source[0] - center),
        detector=seen(detector[0] - center),
        u=pitch[1] * seen(across),
        v=pitch[0] * seen(down),
        detector_shape=shape,
    )


def _placed(part: Mapping[str, Any], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Centre and axes (rows u, v, w, of length 1) of a part in the world's x, y, z."""
    if part.get("deviations") or part.get("deviation"):
        raise InputError(f"found deviations of the {name}, expected none (vectors can say deviations)")

    def vector(key: str, units: Mapping[str, float]) -> np.ndarray:
        values = part.get(key) or part.get(key.replace("center", "centre")) or {}
        if not set("xyz") <= set(values):
            raise InputError(f"found {key} of the {name} in {', '.join(values) or 'nothing'}, expected x, y, z")
        return np.array([_number(values[axis], units, f"{name} {key} {axis}") for axis in "xyz"])

    u, w = (vector(f"vector_{axis}", {"1": 1.0}) for axis in "uw")
    if not (np.linalg.norm(u) > 0 and np.linalg.norm(w) > 0) or abs(u @ w) > 1e-6 * np.linalg.norm(u) * np.linalg.norm(
        w
    ):
        raise InputError(f"found vector_u and vector_w of the {name} at no right angle, expected one")
    u, w = u / np.linalg.norm(u), w / np.linalg.norm(w)
    return vector("center", LENGTHS), np.stack([u, np.cross(w, u), w])


def _angles(acquisition: Mapping[str, Any]) -> np.ndarray:
    """Of the stage in each view, degrees; the last view may be at the end of the arc or one step before."""
    start, stop = (_number(acquisition[f"{name}_angle"], ANGLES, f"{name}_angle") for name in ("start", "stop"))
    views = acquisition["number_of_projections"]
    views = int(_number(views, {"1": 1.0}, "number_of_projections"))
    last = acquisition.get("include_final_angle", True)
    direction = acquisition.get("direction") or "CCW"
    if stop < start or views < 1 or direction not in ("CCW", "CW"):
        found = f"{views} views from {start:g} to {stop:g} degrees {direction}"
        raise InputError(f"found {found}, expected at least 1 at rising angles, CCW or CW")
    angles = start + np.arange(views) * ((stop - start) / max(views - 1 if last else views, 1))
    return -angles if direction == "CW" else angles


def _images(
    path: Path, images: Mapping[str, Any], output: Mapping[str, Any], shape: tuple[int, int], kind: str
) -> tuple[Stack, tuple[str, ...]]:
    """Images that the metadata name: one file, or a pattern such as `scan_%04d.raw`; a note if some are missing."""
    name, number = images.get("filename"), images.get("number")
    if not name:
        raise InputError(f"found no filename of the {kind}, expected one")
    pattern = re.sub(r"%\d*d", "*", Path(name).name)
    folder = path.parent / Path(name).parent
    files = sorted(file for file in folder.glob(pattern) if file.is_file()) if "*" in pattern else [folder / pattern]
    if not files:
        raise InputError(f"found no {name}, expected the {kind}")
    stacks = [_open(file, output, shape) for file in numbered(folder / pattern, files)]
    stack = joined(folder / pattern, stacks)
    if number and stack.shape[0] != number:
        if kind == "projections":
            raise FileError(stack.path, f"found {stack.shape[0]} images, expected the metadata's {number}")
        return stack, (f"found {stack.shape[0]} images of the {kind}, its metadata say {number}",)
    return stack, ()


def _open(file: Path, output: Mapping[str, Any], shape: tuple[int, int]) -> Stack:
    if not file.is_file():
        raise FileError(file, "found no such file, expected images of the scan")
    if file.suffix.lower() != ".raw":
        return open_stack(file)
    dtype = np.dtype(output.get("datatype") or "uint16").newbyteorder(
        "big" if output.get("byteorder") == "big" else "little"
    )
    header = output.get("headersize") or {}
    offset, gap = (int(header.get(key) or 0) for key in ("file", "image"))
    views = max((file.stat().st_size - offset) // (gap + dtype.itemsize * shape[0] * shape[1]), 1)
    packed = Packed(file=file, shape=(views, *shape), dtype=dtype, offset=offset, gap=gap)
    return Stack(path=file, shape=packed.shape, dtype=dtype, frames=packed)
