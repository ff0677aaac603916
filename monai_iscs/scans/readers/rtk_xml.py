# SPDX-License-Identifier: Apache-2.0
"""Geometries in RTK's XML (`ThreeDCircularProjectionGeometry`), read without RTK."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.scans.readers.naming import naming_file
from monai_iscs.scans.readers.options import Options
from monai_iscs.scans.readers.recording import Recording
from monai_iscs.scans.readers.stack import Stack, open_stack

ROOT = "RTKThreeDCircularGeometry"
VERSIONS = ("2", "3")
# Names in the file, by those of `ConeBeamGeometry.from_rtk`.
NAMES = {
    "gantry_angle": "GantryAngle",
    "source_to_isocenter": "SourceToIsocenterDistance",
    "source_to_detector": "SourceToDetectorDistance",
    "projection_offset_x": "ProjectionOffsetX",
    "projection_offset_y": "ProjectionOffsetY",
    "source_offset_x": "SourceOffsetX",
    "source_offset_y": "SourceOffsetY",
    "out_of_plane_angle": "OutOfPlaneAngle",
    "in_plane_angle": "InPlaneAngle",
}
COLLIMATION = ("CollimationUInf", "CollimationUSup", "CollimationVInf", "CollimationVSup")
WIDE_OPEN = 1e300  # a collimation beyond it is none
TOLERANCE = 1e-3  # between a matrix and the parameters beside it, as RTK's own reader has it
SIXTEEN_BIT_AIR = 65535.0  # what RTK takes air to be in 16-bit files


def read_rtk(path: Path, xml: Path, options: Options) -> Recording:
    """A stack of images with RTK's XML.

    Float numbers are line integrals and whole ones counts, as RTK reads them: with 65,535 counts in air where the
    numbers have 16 bits.
    """
    parameters, notes = read_rtk_xml(xml)
    stack = open_stack(path, views=len(parameters["gantry_angle"]))
    kind, air = ("line-integrals" if stack.dtype.kind == "f" else "counts"), None
    if stack.dtype == np.uint16 and options.kind is None and options.flat is None and options.air is None:
        air = SIXTEEN_BIT_AIR
        notes += ("16-bit numbers were taken as counts with 65535 in air, as RTK does: air or flat say it better",)
    return Recording(
        stack=stack,
        geometry=rtk_geometry(parameters, _with_pitch(stack, options), xml),
        kind=kind,
        air=air,
        position="HFS",
        notes=notes,
    )


def rtk_geometry(parameters: dict[str, np.ndarray], stack: Stack, xml: Path) -> ConeBeamGeometry:
    """RTK's nine parameters with the detector of a stack."""
    values = dict(parameters)
    offsets = {
        name: (values.pop(f"{name}_x"), values.pop(f"{name}_y")) for name in ("projection_offset", "source_offset")
    }
    with naming_file(xml):
        return ConeBeamGeometry.from_rtk(
            **values,
            **offsets,
            detector_shape=stack.shape[1:],
            detector_pitch=stack.pitch,
            detector_origin=stack.origin,
        )


def read_rtk_xml(path: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The nine parameters of each view, by the names in `NAMES`, and notes.

    A value outside of a projection holds for all that follow, and one that a projection doesn't name is that of the
    projection before.

    Raises:
        InputError: another version or root, values that are no numbers, a cylindrical detector, parallel rays, or a
            matrix that contradicts its parameters.
    """
    with naming_file(path):
        root = ElementTree.parse(path).getroot()
        if root.tag != ROOT or root.get("version") not in VERSIONS:
            found = f"<{root.tag} version={root.get('version')!r}>"
            raise InputError(f"found {found}, expected <{ROOT}> of version {' or '.join(VERSIONS)}")
        known = {**dict.fromkeys(NAMES.values(), 0.0), **dict.fromkeys(COLLIMATION, np.inf)}
        known["RadiusCylindricalDetector"] = 0.0
        views = []
        for element in root:
            if element.tag != "Projection":
                _take(element, known)
                continue
            matrix = None
            for inner in element:
                if inner.tag == "Matrix":
                    matrix = _numbers(inner, 12).reshape(3, 4)
                else:
                    _take(inner, known)
            views.append(dict(known))
            _check_view(views[-1], matrix, len(views) - 1)
        if not views:
            raise InputError("found no <Projection> in it, expected one for each view")
        _check_flat(known)  # it may stand after the last projection
        collimated = any(view[name] < WIDE_OPEN for view in views for name in COLLIMATION)
        notes = ("the collimation in the geometry file was not applied",) if collimated else ()
        return {ours: np.array([view[name] for view in views]) for ours, name in NAMES.items()}, notes


def _take(element: ElementTree.Element, known: dict[str, float]) -> None:
    name = {"Angle": "GantryAngle"}.get(element.tag, element.tag)
    if name not in known:
        expected = ", ".join((*NAMES.values(), "Matrix"))
        raise InputError(f"found <{element.tag}>, expected {expected}")
    known[name] = float(_numbers(element, 1)[0])


def _numbers(element: ElementTree.Element, count: int) -> np.ndarray:
    words = (element.text or "").split()
    try:
        values = np.array([float(word) for word in words])
    except ValueError:
        values = np.array([np.nan])
    if len(values) != count or not np.isfinite(values).all():
        raise InputError(
            f"found {' '.join(words)[:60]!r} as <{element.tag}>, expected {count} finite number{'s' * (count > 1)}"
        )
    return values


def _check_view(view: dict[str, float], matrix: np.ndarray | None, index: int) -> None:
    _check_flat(view)
    for name in ("SourceToIsocenterDistance", "SourceToDetectorDistance"):
        if not view[name] > 0:
            raise InputError(
                f"found {name} {view[name]:g} in projection {index}, expected more (0 means parallel rays)"
            )
    if matrix is not None and (off := np.abs(matrix - projection_matrix(view)).max()) > TOLERANCE:
        raise InputError(
            f"found a matrix in projection {index} that differs from its parameters by {off:.3g}, expected at most "
            f"{TOLERANCE:g}"
        )


def _check_flat(values: dict[str, float]) -> None:
    if radius := values["RadiusCylindricalDetector"]:
        raise InputError(f"found a cylindrical detector (RadiusCylindricalDetector {radius:g} mm), expected a flat one")


def projection_matrix(view: dict[str, float]) -> np.ndarray:
    """RTK's (3, 4) matrix of a view, from points (mm, RTK's axes) to −depth · (position on the detector in mm, 1)."""
    gantry, tilt, turn = (np.radians(view[name]) for name in ("GantryAngle", "OutOfPlaneAngle", "InPlaneAngle"))
    distance = view["SourceToDetectorDistance"]
    about_y = np.array([[np.cos(gantry), 0, np.sin(gantry)], [0, 1, 0], [-np.sin(gantry), 0, np.cos(gantry)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    about_z = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    source = [view["SourceOffsetX"], view["SourceOffsetY"], view["SourceToIsocenterDistance"]]
    seen = np.hstack([(about_y @ about_x @ about_z).T, -np.array(source)[:, None]])  # from the source, detector's axes
    offsets = [view["SourceOffsetX"] - view["ProjectionOffsetX"], view["SourceOffsetY"] - view["ProjectionOffsetY"]]
    return np.array([[-distance, 0, offsets[0]], [0, -distance, offsets[1]], [0, 0, 1]]) @ seen


def _with_pitch(stack: Stack, options: Options) -> Stack:
    """A stack that knows its pixels' size: from its files, or from the user."""
    if stack.pitch is not None:
        options.refuse("detector_pitch", because="the images have their own")
        return stack
    if options.pitch is None:
        raise InputError("found images without a pixel size, expected a detector_pitch (mm along v and u)")
    return replace(stack, pitch=options.pitch)
