# SPDX-License-Identifier: Apache-2.0
"""A simulated scan as files that `reconstruct` reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from monai_iscs.errors import InputError
from monai_iscs.operators.circle import rotation_axis
from monai_iscs.scans import ConeBeamScan, Projections, write_ct_pd, write_projections
from monai_iscs.scans.readers import check_new
from monai_iscs.transforms import SimulateMeasurementd
from monai_iscs.workflows.pipeline import Pipeline

STACK = ".mha"


def write_scan(pipeline: Pipeline, volume: Path, output: Path) -> str:
    """Scan a volume and write its projections.

    Args:
        pipeline: of a bundle of CT.
        volume: file or DICOM folder.
        output: a name that ends in .mha, for a stack with RTK's geometry beside it; without a suffix a folder of
            DICOM-CT-PD.

    Returns:
        What was written, in a line.

    Raises:
        InputError: another name, a folder that is there already, a bundle whose scan has no projections, or a volume
            that can't be scanned.
        OutputError: the files can't be written.
    """
    if output.suffix not in (STACK, ""):
        raise InputError(
            f"--output: found {output}, expected the name of a file that ends in .mha, or of a folder, without a dot"
        )
    if not output.suffix:
        check_new(output)
    transform = pipeline.config.get_parsed_content("measurement")
    if not isinstance(transform, SimulateMeasurementd) or not isinstance(pipeline.scan, ConeBeamScan):
        raise InputError(f"--bundle: found {pipeline.folder}, expected one of CT, whose scan has projections")
    loaded = pipeline.load(volume)
    with pipeline.config.blamed("measurement"):
        projections = transform.measure.project(loaded)
    views, rows, columns = projections.data.shape
    if output.suffix:
        write_projections(projections, output)
        geometry = output.with_suffix(".xml")
        return f"{output}: {views} views of {rows} x {columns} line integrals; {geometry}: their geometry (RTK)"
    x, y = _write_folder(pipeline, projections, output, transform.measure.photons)
    return (
        f"{output}: {views} files of {rows} x {columns} line integrals (DICOM-CT-PD); the scanner's axis, x = y = 0 in "
        f"them, is at x = {x:.2f} and y = {y:.2f} mm (RAS) in {volume}"
    )


def _write_folder(
    pipeline: Pipeline, projections: Projections, folder: Path, photons: float | None
) -> tuple[float, float]:
    """DICOM-CT-PD, whose frame is the scanner's; gives the x and y of its axis in the volume's frame."""
    low, high = pipeline.range
    columns = projections.geometry.detector_shape[1]
    axis = rotation_axis(projections.geometry, (0.0, 0.0))
    about_axis = replace(
        projections,
        geometry=projections.geometry.moved([*-axis, 0.0]),
        water=-low / (high - low) * pipeline.scan.unit_attenuation,
    )
    write_ct_pd(
        about_axis,
        folder,
        views_a_turn=pipeline.scan.views_a_turn,
        quanta=None if photons is None else np.full(columns, photons),
    )
    return float(axis[0]), float(axis[1])
