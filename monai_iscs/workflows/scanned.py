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
from monai_iscs.methods import Method
from monai_iscs.metrics import data_residual, residual_of_views
from monai_iscs.operators import ConeBeamProjector
from monai_iscs.operators.circle import check_circle, check_helix
from monai_iscs.scans import Projections, field_of_view, seen_share, upright
from monai_iscs.scans.field_of_view import voxels
from monai_iscs.scans.meta import grid_of, naming, projections_of
from monai_iscs.solvers import SIRT
from monai_iscs.workflows.pipeline import Measured, Pipeline

WIDEST = 1000.0  # mm: a patient and a table are narrower, as is what any scanner sees of them
VIEWS, ROWS, COLUMNS, FITTING = 60, 4, 64, 20  # of the coarse fits, and their iterations
CLEARLY = 1.15  # how much worse the given geometry has to fit than another to be doubted
DOUBTFUL = 0.5  # of the misfit with the views in any order: right geometries have up to a third of it
FITS = 0.03  # a smaller misfit tells nothing: a round body in the middle fits in any order
ODD = 0.1  # misfit of a single view
STANDS_OUT = 4.0  # how much worse than the median view a single one has to fit to be named
TOLERANCE = 1.1  # of a pixel size beside those of the training
METAL = 3000.0  # HU: bones stay below, also with the streaks of few views
PATHS = {"fdk": check_circle, "helical-fbp": check_helix}  # by method, what refuses other paths of the source
SEEN, MOST = 0.5, 0.5  # share of the views, and of the volume that so many should see
TISSUE, DENSE = -500.0, 0.999  # HU, and the share of voxels below it that leaves no body


def reading_notes(projections: Projections) -> list[str]:
    """What is to be said of projections before they are placed: what was mended in them, and what looks wrong."""
    straight = upright(projections)  # once: it resamples tilted detectors
    return [*projections.notes, *size_notes(straight), *fit_notes(straight)]


def placing_notes(pipeline: Pipeline, measured: Measured, *, model: bool) -> list[str]:
    """What is to be said of placed projections.

    Args:
        pipeline: that placed them.
        measured: as they were placed.
        model: whether one is used, which knows only what it was trained on.
    """
    return [
        *(pixel_size_notes(pipeline, measured) if model else []),
        *image_notes(pipeline, measured, model=model),
    ]


def check_path(method: Method, volume: MetaTensor) -> None:
    """Raise an `InputError` for a method that doesn't take the path of the source of loaded projections."""
    if (check := PATHS.get(method.name)) is not None:
        with naming(volume):
            check(projections_of(volume).geometry, (0.0, 0.0, 0.0))


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


def image_notes(pipeline: Pipeline, measured: Measured, *, model: bool) -> list[str]:
    """What to say where few views see the wanted volume, or a first image can't be a body's; see `placing_notes`."""
    volume = pipeline.place(direct(measured.measurement.to(pipeline.device)), measured)
    shown = pipeline.shown(volume, measured)
    share = float((seen(shown, measured).as_tensor() >= SEEN).float().mean())
    notes = attenuation_notes(pipeline.to_units(shown).as_tensor().flatten(), model=model)
    if share < MOST:
        notes.append(
            f"found only {share:.0%} of the volume seen by half of the views or more, expected most of it: are its "
            "shape and center right?"
        )
    return notes


def attenuation_notes(values: torch.Tensor, *, model: bool) -> list[str]:
    """What to say where an image is denser than any bone, or thinner than any tissue; its HU; see `placing_notes`."""
    dense, densest = values.kthvalue(math.ceil(DENSE * len(values))).values, values.max()
    if dense < TISSUE:
        return [
            f"found hardly anything above {dense:,.0f} HU in a first image, expected water near 0 HU: are water's "
            "attenuation (per mm) and the geometry's units (mm) right?"
        ]
    if densest > METAL:
        metal = "rays through metal contradict each other"
        return [
            f"found {densest:,.0f} HU in a first image, expected less than {METAL:,.0f} HU: metal, water of another "
            "attenuation (per mm), or a geometry in another unit than mm? "
            + (f"The model knows no metal, and {metal}; ADMM-TV may fit better" if model else metal.capitalize())
        ]
    return []


def size_notes(projections: Projections) -> list[str]:
    """What to say where far more is seen than any patient fills."""
    across = 2 * field_of_view(upright(projections)).radius
    if across <= WIDEST:
        return []
    return [f"found {across:,.0f} mm seen across, expected at most {WIDEST:,.0f} mm: is the geometry's unit mm?"]


def fit_notes(projections: Projections) -> list[str]:
    """What to say where the views contradict each other, or fit better with the detector's columns in reverse order.

    A wrong sense of rotation does the same, but for a mirrored volume. A coarse volume is fitted to coarse projections
    by SIRT, as they are, reversed, and in random order, which right views fit much better than. A flip of the rows, and
    where the first view is, change no fit.
    """
    chosen, coarse = _coarse(upright(projections))
    given, of_views = _misfit(coarse)
    reversed_, _ = _misfit(replace(coarse, data=coarse.data.flip(2)))
    if reversed_ * CLEARLY < given:
        return [
            f"found views that fit each other to {given:.3f} of their size, and to {reversed_:.3f} with the detector's "
            "columns reversed, expected a better fit as they are: are the sense of rotation and the columns' order "
            "right?"
        ]
    worst = int(of_views.argmax())
    if of_views[worst] > max(STANDS_OUT * float(of_views.median()), ODD):
        return [
            f"found that view {chosen[worst]} fits the others to {float(of_views[worst]):.2g} of its size only, "
            f"expected near {float(of_views.median()):.2g} as for the other views: is it of the same scan, and its "
            "geometry right?"
        ]
    order = torch.randperm(len(chosen), generator=torch.Generator().manual_seed(0))
    mixed, _ = _misfit(replace(coarse, data=coarse.data[order]))
    if given > max(DOUBTFUL * mixed, FITS):
        return [
            f"found views that fit each other to {given:.3f} of their size, and to {mixed:.3f} in random order, "
            f"expected less than {DOUBTFUL:g} times as much: are their order, angles and lengths right, and did "
            "nothing move?"
        ]
    return []


def _coarse(projections: Projections) -> tuple[np.ndarray, Projections]:
    """Which views were chosen, and their middle rows, in few pixels."""
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
    geometry = scan.chosen(chosen).binned(tuple(first), shape, (along_v, along_u))
    data = torch.nn.functional.avg_pool2d(middle[:, None], (along_v, along_u))[:, 0]
    return chosen, replace(projections, data=data, geometry=geometry, weights=None)


def _misfit(projections: Projections) -> tuple[float, torch.Tensor]:
    """‖A x − y‖ / ‖y‖ of a coarse volume, and the same of each view."""
    field = field_of_view(projections)
    low, high = field.met_heights
    side = 2 * field.met_radius
    spacing = side / COLUMNS
    shape = (COLUMNS, COLUMNS, voxels(high - low, spacing))
    grid = Grid.centered(shape, (spacing,) * 3, center=(*field.axis, (low + high) / 2))
    projector = ConeBeamProjector(projections.geometry, grid)
    measured = projections.data[None]
    fitted = SIRT(projector, iterations=FITTING, rtol=0)(measured)
    return data_residual(fitted, measured, projector), residual_of_views(projector(fitted), measured)


def seen(shown: MetaTensor, measured: Measured) -> MetaTensor:
    """How much of its views sees each voxel of a result, 0 to 1; see `seen_share`."""
    _, projector = measured.measurement.operator.factored()
    return convert_to_dst_type(seen_share(projector.geometry, grid_of(shown))[None], shown)[0]
