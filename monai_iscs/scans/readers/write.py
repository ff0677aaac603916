# SPDX-License-Identifier: Apache-2.0
"""Projections as files that RTK and this package read: a stack of line integrals with RTK's XML."""

from __future__ import annotations

import warnings
from os import PathLike
from pathlib import Path

import numpy as np

from monai_iscs.errors import InputError, InputWarning
from monai_iscs.files import staged, telling
from monai_iscs.operators.rtk_parameters import rtk_parameters
from monai_iscs.scans.projections import POSITIONS, Projections
from monai_iscs.scans.readers.rtk_xml import NAMES, ROOT, VERSIONS, projection_matrix


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


def _xml(parameters: dict[str, np.ndarray]) -> str:
    lines = ['<?xml version="1.0"?>', "<!DOCTYPE RTKGEOMETRY>", f'<{ROOT} version="{VERSIONS[-1]}">']
    for values in zip(*parameters.values(), strict=True):
        view = {NAMES[name]: float(value) for name, value in zip(parameters, values, strict=True)}
        lines += ["  <Projection>", *(f"    <{name}>{value!r}</{name}>" for name, value in view.items())]
        rows = ("      " + " ".join(map(repr, row)) for row in projection_matrix(view).tolist())
        lines += ["    <Matrix>", *rows, "    </Matrix>", "  </Projection>"]
    return "\n".join([*lines, f"</{ROOT}>", ""])
