# SPDX-License-Identifier: Apache-2.0
"""Comparison of a reconstruction's file with its reference's, for both `reconstruct` and `evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from monai.data import MetaTensor
from monai.transforms import Orientationd, ScaleIntensityRanged

from monai_iscs.metrics import SliceLPIPS, summarise
from monai_iscs.transforms import CheckVolumed, InputCompose, LoadVolumed
from monai_iscs.workflows.config import BundleConfig


class Comparison(NamedTuple):
    """Two volumes, (1, X, Y, Z), RAS, on the files' own grid, and their metrics.

    Attributes:
        reconstruction: in the units of the metrics: 0 to 1 for CT, signal over the reference's robust maximum for MRI.
        reference: the truth, in the same units.
        summary: the result of `monai_iscs.metrics.summarise`.
    """

    reconstruction: MetaTensor
    reference: MetaTensor
    summary: Mapping[str, Any]


def compare(
    config: BundleConfig, reconstruction: Path, reference: Path, *, lpips: SliceLPIPS | None = None
) -> Comparison:
    """Compare two files in a bundle's units, on their own grid: nothing is fitted to the prior's size.

    Raises:
        InputError: a file cannot be used, or the two are not on one grid.
    """
    prepare = config.get_parsed_content("comparison")
    with config.blamed("comparison"):
        volumes = prepare({"pred": reconstruction, "label": reference})
        pair = volumes["pred"], volumes["label"]
    slice_axis = config.get_parsed_content("inferer").recipe.prior.axis
    return Comparison(*pair, summarise(*pair, slice_axis=slice_axis, lpips=lpips))


def compare_in_window(
    reconstruction: Path, reference: Path, low: float, high: float, *, lpips: SliceLPIPS | None = None
) -> Comparison:
    """Compare two files of any units, without a bundle, on their own grid; ``low`` to ``high`` become 0 to 1.

    Raises:
        InputError: a file cannot be used, or the two are not on one grid.
    """
    keys = ("pred", "label")
    prepare = InputCompose(
        [
            LoadVolumed(keys),
            CheckVolumed(keys),
            Orientationd(keys, axcodes="RAS", labels=None),
            ScaleIntensityRanged(keys, a_min=low, a_max=high, b_min=0.0, b_max=1.0, clip=True),
        ]
    )
    volumes = prepare({"pred": reconstruction, "label": reference})
    pair = volumes["pred"], volumes["label"]
    return Comparison(*pair, summarise(*pair, lpips=lpips))
