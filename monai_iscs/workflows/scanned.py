# SPDX-License-Identifier: Apache-2.0
"""What is said of a reconstruction from a real scanner's projections, whose truth nobody knows."""

from __future__ import annotations

from monai.data import MetaTensor
from monai.utils import convert_to_dst_type

from monai_iscs.scans import seen_share
from monai_iscs.scans.meta import grid_of
from monai_iscs.workflows.pipeline import Measured, Pipeline

TOLERANCE = 1.1  # of a pixel size beside those of the training


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
