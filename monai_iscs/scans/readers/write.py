# SPDX-License-Identifier: Apache-2.0
"""Projections as files that RTK and this package read: a stack of line integrals with RTK's XML."""

from __future__ import annotations

import warnings
from os import PathLike
from pathlib import Path

import numpy as np

from monai_iscs.errors import InputError, InputWarning
from monai_iscs.files import staged, telling
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.scans.projections import POSITIONS, Projections
from monai_iscs.scans.readers.rtk_xml import NAMES, ROOT, VERSIONS, projection_matrix

OURS_TO_RTK = [1, 2, 0]  # RTK's x, y, z are our y, z, x
SAME = 1e-9  # relative: below it, differences of pixels' sizes, and cosines between their sides, are rounding
UPSIDE_DOWN = 1e-6  # cosine of the out-of-plane angle, below which the gantry's is undetermined


def write_projections(projections: Projections, path: str | PathLike[str]) -> Path:
    """Write `NAME.mha` (float32 line integrals) and `NAME.xml` (RTK's geometry), which `read_projections` reads.

    The frame is that of a scanner with the patient head first and supine, which readers take RTK's files for. Both
    files appear together, when they are complete.

    Args:
        projections: with flat detectors of the same rectangular pixels in all views. Weights are not written, with a
            warning.
        path: of the `.mha`; its folder is made.

    Returns:
        The path of the `.mha`.

    Raises:
        InputError: another suffix, or a geometry that RTK's nine parameters don't describe.
        OutputError: the files can't be written.
    """
    import itk

    path = Path(path).expanduser()
    if path.suffix.lower() != ".mha":
        raise InputError(f"{path}: found the suffix {path.suffix!r}, expected .mha")
    if projections.position != "HFS":
        scan = projections.in_patient().geometry.turned(np.array(POSITIONS["HFS"]).T)
    else:
        scan = projections.geometry
    parameters, pitch = rtk_parameters(scan)
    rows, columns = scan.detector_shape
    image = itk.image_view_from_array(np.ascontiguousarray(projections.data.detach().cpu().numpy()))
    image.SetSpacing([pitch[1], abs(pitch[0]), 1.0])
    image.SetOrigin([-(columns - 1) / 2 * pitch[1], -(rows - 1) / 2 * pitch[0], 0.0])
    image.SetDirection(np.diag([1.0, np.sign(pitch[0]), 1.0]))
    if projections.weights is not None and not bool((projections.weights == 1).all()):
        warnings.warn(f"{path}: the weights were left out, RTK's format has no place for them", InputWarning, 2)
    with telling(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    with staged(path.parent, last=path.name) as folder:
        itk.imwrite(image, str(folder / path.name), compression=False)
        (folder / path.with_suffix(".xml").name).write_text(_xml(parameters), encoding="ascii")
    return path


def rtk_parameters(scan: ConeBeamGeometry) -> tuple[dict[str, np.ndarray], tuple[float, float]]:
    """RTK's nine parameters of a scan whose frame's origin is the isocentre and whose z is RTK's y.

    Returns:
        The parameters by the names in `NAMES`, one number a view; the pixel size (along v, along u) in mm, negative
        along v where rows fall.

    Raises:
        InputError: pixels that are no rectangles or differ between views, a source that is no farther along the
            detector's normal than the isocentre, or a detector that faces straight up.
    """
    source, detector, u, v = (getattr(scan, name)[:, OURS_TO_RTK] for name in ("source", "detector", "u", "v"))
    pitch_u, pitch_v = (np.linalg.norm(step, axis=1) for step in (u, v))
    if max(np.ptp(pitch_u) / pitch_u[0], np.ptp(pitch_v) / pitch_v[0]) > SAME:
        raise InputError("geometry: found pixels of different sizes in different views, expected one size for RTK")
    if np.abs((u * v).sum(1) / (pitch_u * pitch_v)).max() > SAME:
        raise InputError("geometry: found pixels that are no rectangles, expected u at right angles to v for RTK")
    sign = np.sign((np.cross(u, v) * (source - detector)).sum(1))
    if np.ptp(sign):
        raise InputError("geometry: found detectors that are mirrored in some views only, expected all alike for RTK")
    across, up = u / pitch_u[:, None], sign[:, None] * v / pitch_v[:, None]
    axes = np.stack([across, up, np.cross(across, up)], 1)  # (views, 3, 3): rows are the detector's x, y, z
    level = np.hypot(axes[:, 2, 0], axes[:, 2, 2])
    seen, center = (np.einsum("nij,nj->ni", axes, point) for point in (source, detector))
    if not (seen[:, 2] > 0).all():
        raise InputError("geometry: found a source behind the frame's origin, expected the isocentre there for RTK")
    if level.min() < UPSIDE_DOWN:
        raise InputError("geometry: found a detector that faces along the scan's axis, expected another one for RTK")
    parameters = {
        "gantry_angle": np.degrees(np.arctan2(axes[:, 2, 0], axes[:, 2, 2])),
        "source_to_isocenter": seen[:, 2],
        "source_to_detector": seen[:, 2] - center[:, 2],
        "projection_offset_x": center[:, 0],
        "projection_offset_y": center[:, 1],
        "source_offset_x": seen[:, 0],
        "source_offset_y": seen[:, 1],
        "out_of_plane_angle": np.degrees(np.arctan2(-axes[:, 2, 1], level)),
        "in_plane_angle": np.degrees(np.arctan2(axes[:, 0, 1], axes[:, 1, 1])),
    }
    return parameters, (float(sign[0] * pitch_v[0]), float(pitch_u[0]))


def _xml(parameters: dict[str, np.ndarray]) -> str:
    lines = ['<?xml version="1.0"?>', "<!DOCTYPE RTKGEOMETRY>", f'<{ROOT} version="{VERSIONS[-1]}">']
    for values in zip(*parameters.values(), strict=True):
        view = {NAMES[name]: float(value) for name, value in zip(parameters, values, strict=True)}
        lines += ["  <Projection>", *(f"    <{name}>{value!r}</{name}>" for name, value in view.items())]
        rows = ("      " + " ".join(map(repr, row)) for row in projection_matrix(view).tolist())
        lines += ["    <Matrix>", *rows, "    </Matrix>", "  </Projection>"]
    return "\n".join([*lines, f"</{ROOT}>", ""])
