# SPDX-License-Identifier: Apache-2.0
"""Known spheres in a study's volumes, and the metrics of its results."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing

from monai_iscs.errors import InputError
from monai_iscs.metrics import (
    SliceLPIPS,
    measure_lesions,
    modulation_transfer,
    noise_power,
    ring_correlation,
    summarise,
)
from monai_iscs.studies.suites import LesionPlan, Suite
from monai_iscs.transforms import InsertLesions, Lesion
from monai_iscs.workflows.pipeline import Pipeline


@dataclass(frozen=True)
class Spheres:
    """What a suite puts into a volume, with contrasts in the prior's units; empty where it puts nothing."""

    edges: tuple[Lesion, ...] = ()
    lesions: tuple[Lesion, ...] = ()


def insert_spheres(volume: MetaTensor, suite: Suite, pipeline: Pipeline) -> tuple[MetaTensor, Spheres]:
    """A volume with the suite's spheres, and their list.

    Args:
        volume: (1, X, Y, Z) in the prior's units.
        suite: with or without spheres, which are in HU.
        pipeline: the bundle.

    Raises:
        InputError: the bundle's unit is not HU, or there is too little soft tissue.
    """
    spheres = Spheres()
    for name in ("edges", "lesions"):  # the larger ones first
        plan: LesionPlan | None = getattr(suite, name)
        if plan is None:
            continue
        if (unit := pipeline.display["unit"]) != "HU":
            raise InputError(f"--bundle: found one with the unit {unit!r}, expected HU for the suite's spheres")
        low, high = pipeline.range
        volume, inserted = InsertLesions(
            diameters=plan.diameters,
            contrasts=[contrast / (high - low) for contrast in plan.contrasts],
            tissue=tuple((value - low) / (high - low) for value in plan.tissue),
            repeats=plan.repeats,
        )(volume)
        spheres = replace(spheres, **{name: tuple(inserted)})
    return volume, spheres


def compare(
    result: MetaTensor, reference: MetaTensor, spheres: Spheres, pipeline: Pipeline, lpips: SliceLPIPS | None
) -> dict[str, Any]:
    """The metrics of a result.

    Args:
        result: (1, X, Y, Z) in the prior's units.
        reference: the truth with the spheres, on the same grid.
        spheres: those in the reference.
        pipeline: the bundle.
        lpips: measures LPIPS, or None.

    Returns:
        What `summarise` gives; with `lesions` also "lesions", from `measure_lesions`; with `edges` also "quality":
        what `noise_power`, `modulation_transfer` and `ring_correlation` give, and the lesions with contrasts in HU.
    """
    summary = summarise(result, reference, slice_axis=pipeline.slice_axis, lpips=lpips)
    spacing = affine_to_spacing(reference.affine).tolist()
    if spheres.lesions:
        found, true = result[0].as_tensor(), reference[0].as_tensor().to(result.device)
        summary["lesions"] = measure_lesions(found, true, spheres.lesions, spacing)
    if spheres.edges:
        found, true = (pipeline.to_units(volume)[0].as_tensor().cpu() for volume in (result, reference))
        low, high = pipeline.range
        edges = [replace(edge, contrast=edge.contrast * (high - low)) for edge in spheres.edges]
        summary["quality"] = {
            "noise_power": noise_power(found - true, true, spacing),
            "modulation": modulation_transfer(found, true, edges, spacing),
            "ring_correlation": ring_correlation(found, true, spacing),
            "lesions": [
                lesion | {name: lesion[name] * (high - low) for name in ("inserted", "contrast")}
                for lesion in summary["lesions"]
            ],
        }
    return summary
