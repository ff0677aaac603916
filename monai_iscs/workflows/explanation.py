# SPDX-License-Identifier: Apache-2.0
"""What a reconstruction owes to its measurement, and how well it fits it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from monai.data import MetaTensor
from monai.utils import convert_to_dst_type

from monai_iscs.errors import InputError
from monai_iscs.metrics import filled_in, residual_of_views
from monai_iscs.operators import ConeBeamProjector
from monai_iscs.reports import ColouredMap, write_volume
from monai_iscs.workflows.pipeline import Measured, Pipeline

FILLED_IN = "filled_in.nii.gz"
AWAY = 2.0  # times as much or as little as the noise: photon noise alone makes some views differ by less


def check_explainable(measured: Measured) -> None:
    """Raise an `InputError` for a measurement whose null space cannot be found."""
    if measured.measurement is None:
        raise InputError(
            "--explain: found a scan that is reconstructed in slabs, expected one that is not (see --slab)"
        )
    operator = measured.measurement.operator
    if operator.pseudo_inverse is None and not operator.matched:
        raise InputError(f"--explain: found the projector {operator.name}, expected one with an exact adjoint")


def write_filled_in(stage: Path, pipeline: Pipeline, measured: Measured, result: MetaTensor) -> ColouredMap:
    """Write the share of a result's contrast that was not measured, see `filled_in`; returns it for the figure.

    Args:
        stage: the folder of the run's new results.
        pipeline: the bundle.
        measured: the measurement.
        result: as the method gives it.
    """
    measurement = measured.measurement.to(pipeline.device).weighted
    volume = result.as_tensor().to(pipeline.device)
    share = filled_in(volume, measurement.operator, measurement.grid.spacing)
    shown = pipeline.shown(convert_to_dst_type(share, result)[0], measured).clamp(0, 1)  # splines overshoot
    write_volume(stage / FILLED_IN, shown)
    return ColouredMap(shown, "share of the contrast", 1.0)


class Fit(NamedTuple):
    """How well a result fits each view of its measurement.

    Attributes:
        residuals: ‖A x − y‖ / ‖y‖.
        chi_squares: mean squared residual over that of the noise, about 1 for a fit that leaves the noise; None without
            a noise level.
    """

    residuals: list[float]
    chi_squares: list[float] | None

    def as_dict(self) -> dict[str, Any]:
        """For ``run.json``."""
        return {"residual_of_each_view": self.residuals, "chi_square_of_each_view": self.chi_squares}

    def notes(self, *, stops: bool = True) -> list[str]:
        """What to say where a sampler's result fits some views far better or worse than their noise allows.

        Args:
            stops: whether the sampler stops at the noise. One that weighs the measurement by it does not: summed over
                the steps it fits noisy rays more closely, and only views that it fits worse are told.
        """
        found = self.chi_squares or []
        odd = [view for view, value in enumerate(found) if value > AWAY or (stops and value < 1 / AWAY)]
        if not odd:
            return []
        worst = max(odd, key=lambda view: max(found[view], 1 / max(found[view], 1e-12)))
        return [
            f"found a squared residual of {found[worst]:.3g} times the noise's in view {worst}, and beyond a factor of "
            f"{AWAY:g} in {len(odd)} of {len(found)} views, expected about 1: too few steps, another noise level, or a "
            "wrong model of the scan?"
        ]


def fit_of_views(result: MetaTensor, measured: Measured) -> Fit | None:
    """How well a result fits the views of a cone beam, where they were measured; None of another scan."""
    weighted = measured.measurement.weighted
    _, projector = measured.measurement.operator.factored()
    if not isinstance(projector, ConeBeamProjector):
        return None
    found = weighted.operator(result.as_tensor().to(weighted.data.device))
    squares = (found - weighted.data).square_().mean(dim=(0, 2, 3), dtype=torch.float64)
    weights, level = measured.measurement.weights, measured.measurement.noise_level
    if weights is not None:
        squares = squares / weights.double().mean(dim=(1, 2))  # NaN of a view that does not count
    return Fit(residual_of_views(found, weighted.data).tolist(), (squares / level**2).tolist() if level else None)
