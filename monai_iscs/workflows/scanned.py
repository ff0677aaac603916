# SPDX-License-Identifier: Apache-2.0
"""What is said of a reconstruction from a real scanner's projections, whose truth nobody knows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from monai.data import MetaTensor
from monai.utils import convert_to_dst_type

from monai_iscs.classical import direct
from monai_iscs.grid import Grid
from monai_iscs.metrics import data_residual
from monai_iscs.operators import ConeBeamProjector
from monai_iscs.scans import Projections, field_of_view, seen_share, upright
from monai_iscs.scans.field_of_view import voxels
from monai_iscs.scans.meta import grid_of
from monai_iscs.solvers import SIRT
from monai_iscs.workflows.pipeline import Measured, Pipeline

VIEWS, ROWS, COLUMNS, FITTING = 60, 4, 64, 20  # of the coarse fits, and their iterations
CLEARLY = 1.15  # how much worse the given geometry has to fit than another to be doubted
TOLERANCE = 1.1  # of a pixel size beside those of the training
METAL = 3000.0  # HU: bones stay below, also with the streaks of few views
TISSUE, DENSE = -500.0, 0.999  # HU, and the share of voxels below it that leaves no body


def scan_notes(pipeline: Pipeline, projections: Projections, measured: Measured) -> list[str]:
    """All that is to be said of projections: what was mended in them, and what looks wrong."""
    return [
        *projections.notes,
        *sense_notes(projections),
        *pixel_size_notes(pipeline, measured),
        *attenuation_notes(pipeline, measured),
    ]


def pixel_size_notes(pipeline: Pipeline, measured: Measured) -> list[str]:
    """What to say where a measurement's pixels are not those that the prior was trained on."""
    if "pixel_size" not in pipeline.config:
        return []
    known = pipeline.config.get_parsed_content("pixel_size")
    pixel = [size for axis, size in enumerate(measured.measurement.grid.spacing) if axis != pipeline.slice_axis]
    if known["least"] / TOLERANCE <= min(pixel) and max(pixel) <= known["most"] * TOLERANCE:
        return []
    return [
        f"found pixels of {pixel[0]:.3g} x {pixel[1]:.3g} mm, expected {known['least']:g} to {known['most']:g} mm, "
        "which the model was trained on: it may draw what is not there"
    ]


def attenuation_notes(pipeline: Pipeline, measured: Measured) -> list[str]:
    """What to say where a direct inversion is denser than any bone, or thinner than any tissue."""
    volume = pipeline.place(direct(measured.measurement.to(pipeline.device)), measured)
    values = pipeline.to_units(pipeline.shown(volume, measured)).as_tensor().flatten()
    dense, densest = values.kthvalue(math.ceil(DENSE * len(values))).values, values.max()
    if dense < TISSUE:
        return [
            f"found hardly anything above {dense:,.0f} HU in a first image, expected water near 0 HU: are water's "
            "attenuation (per mm) and the geometry's units (mm) right?"
        ]
    if densest > METAL:
        return [
            f"found {densest:,.0f} HU in a first image, expected less than {METAL:,.0f} HU: metal, or water of another "
            "attenuation? The model knows no metal, and rays through it contradict each other; ADMM-TV may fit better"
        ]
    return []


def sense_notes(projections: Projections) -> list[str]:
    """What to say where the views fit each other better with the columns of the detector in the reverse order.

    A wrong sense of rotation does the same, but for a mirrored volume. A coarse volume is fitted to coarse projections
    by SIRT, once as they are and once reversed. A flip of the rows, and where the first view is, change no fit.
    """
    coarse = _coarse(upright(projections))
    given, reversed_ = _misfit(coarse), _misfit(replace(coarse, data=coarse.data.flip(2)))
    if reversed_ * CLEARLY >= given:
        return []
    return [
        f"found views that fit each other to {given:.3f} of their size, and to {reversed_:.3f} with the detector's "
        "columns reversed, expected a better fit as they are: are the sense of rotation and the columns' order right?"
    ]


def _coarse(projections: Projections) -> Projections:
    """The middle rows of some of the views, in few pixels."""
    scan = projections.geometry
    chosen = np.arange(0, scan.views, -(-scan.views // VIEWS))
    rows, columns = scan.detector_shape
    along_u = -(-columns // COLUMNS)
    along_v = min(along_u, rows)
    shape = min(rows // along_v, ROWS), columns // along_u
    first = [(n - count * size) // 2 for n, count, size in zip((rows, columns), shape, (along_v, along_u), strict=True)]
    middle = projections.data[
        chosen, first[0] : first[0] + shape[0] * along_v, first[1] : first[1] + shape[1] * along_u
    ]
    part = scan.chosen(chosen)
    off_v, off_u = (
        start + (count * size - 1) / 2 - (n - 1) / 2
        for start, count, size, n in zip(first, shape, (along_v, along_u), (rows, columns), strict=True)
    )
    geometry = replace(
        part,
        detector=part.detector + off_v * part.v + off_u * part.u,
        u=part.u * along_u,
        v=part.v * along_v,
        detector_shape=shape,
    )
    data = torch.nn.functional.avg_pool2d(middle[:, None], (along_v, along_u))[:, 0]
    return replace(projections, data=data, geometry=geometry, weights=None)


def _misfit(projections: Projections) -> float:
    """‖A x − y‖ / ‖y‖ of a coarse volume."""
    field = field_of_view(projections)
    low, high = field.met_heights
    side = 2 * field.met_radius
    spacing = side / COLUMNS
    shape = (COLUMNS, COLUMNS, voxels(high - low, spacing))
    grid = Grid.centered(shape, (spacing,) * 3, center=(*field.axis, (low + high) / 2))
    projector = ConeBeamProjector(projections.geometry, grid)
    fitted = SIRT(projector, iterations=FITTING, rtol=0)(projections.data[None])
    return data_residual(fitted, projections.data[None], projector)


def seen(shown: MetaTensor, measured: Measured) -> MetaTensor:
    """How much of its views sees each voxel of a result, 0 to 1; see `seen_share`."""
    _, projector = measured.measurement.operator.factored()
    return convert_to_dst_type(seen_share(projector.geometry, grid_of(shown))[None], shown)[0]


def residuals(result: MetaTensor, measured: Measured) -> list[float]:
    """‖A x − y‖ / ‖y‖ of each view, where it was measured."""
    weighted = measured.measurement.weighted
    expected = weighted.data.double().flatten(2)
    found = weighted.operator(result.as_tensor().to(weighted.data.device)).double().flatten(2)
    away = (found - expected).norm(dim=(0, 2)) / expected.norm(dim=(0, 2)).clamp(min=1e-12)
    return away.tolist()
