# SPDX-License-Identifier: Apache-2.0
"""What each step of the sampler reached: the numbers behind Fig. 5 of the ISCS paper."""

from __future__ import annotations

import math
import os
from typing import Any

from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.metrics import VIEWS, SliceLPIPS, data_residual, slice_difference, summarise
from monai_iscs.reports.table import write_csv
from monai_iscs.sampling import State
from monai_iscs.scans import Measurement


class StepRecorder:
    """A callback of `SliceDiffusionInferer` that measures the data-consistent estimate of every step of one volume.

    It measures and changes nothing: the reference stays out of the sampler. A new run (a step of index 0) starts a new
    record.

    Args:
        slice_axis: along which the prior's slices are stacked, 0, 1 or 2: that of the recipe's `prior`.
        reference: the truth, (C, X, Y, Z) with C = 1 or (X, Y, Z), in prior units.
        measurement: what was reconstructed, for the data residual.
        lower_bound: that of the recipe's `prior`, so that the last step's numbers are the result's.
        lpips: measures LPIPS at every step too, which takes time.

    Attributes:
        records: one for each step, with the same keys: "step" (from 1), "sigma", then for each view "axial_psnr" (dB),
            "axial_ssim", "axial_lpips", then "slice_difference", "slice_gap" (signed) and "data_residual". What could
            not be measured is None.

    Example:
        >>> recorder = StepRecorder(recipe.prior.axis, reference=volume)
        >>> inferer = SliceDiffusionInferer(recipe, callback=recorder)
        >>> result = inferer(measurement[None], network)
        >>> recorder.write("steps.csv")
        >>> step_curves({"DDS+ISCS": recorder.records}, "steps.png")
    """

    def __init__(
        self,
        slice_axis: int = 2,
        *,
        reference: Tensor | None = None,
        measurement: Measurement | None = None,
        lower_bound: float = -math.inf,
        lpips: SliceLPIPS | None = None,
    ) -> None:
        self.slice_axis = slice_axis
        self.reference = reference
        self.measurement = measurement
        self.lower_bound = lower_bound
        self.lpips = lpips
        self.records: list[dict[str, Any]] = []

    def __call__(self, state: State) -> None:
        """Measure a step."""
        if state.index == 0:
            self.records = []
        volume = state.x0_hat.clamp(min=self.lower_bound)
        self.records.append({"step": state.index + 1, "sigma": state.sigma, **self._compare(volume)})

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the records as CSV.

        Raises:
            InputError: before the first step.
        """
        if not self.records:
            raise InputError(f"{path}: found no steps to write, expected the recorder to be the callback of a run")
        write_csv(path, self.records)

    def _compare(self, volume: Tensor) -> dict[str, Any]:
        """The numbers of a volume (C, X, Y, Z)."""
        axis = self.slice_axis
        views = {f"{view}_{measure}": None for measure in ("psnr", "ssim", "lpips") for view in VIEWS}
        gap = residual = None
        if self.reference is None:
            difference = slice_difference(volume.squeeze(0), axis)
        else:
            summary = summarise(volume, self.reference.to(volume.device), slice_axis=axis, lpips=self.lpips)
            views = {key: summary[key.split("_")[0]][key.split("_")[1]] for key in views}
            difference, gap = (summary["slice_difference"][key] for key in ("reconstruction", "gap"))
        if self.measurement is not None:
            residual = data_residual(volume, self.measurement.data.to(volume.device), self.measurement.operator)
        return {**views, "slice_difference": difference, "slice_gap": gap, "data_residual": residual}
