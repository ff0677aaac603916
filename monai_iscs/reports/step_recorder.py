# SPDX-License-Identifier: Apache-2.0
"""The metrics of each step of the sampler, as in Fig. 5 of the ISCS paper."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.metrics import VIEWS, SliceLPIPS, data_residual, slice_difference, summarise
from monai_iscs.reports.table import write_csv
from monai_iscs.sampling import State


class StepRecorder:
    """A callback of `SliceDiffusionInferer` that measures the data-consistent estimate of every step of one volume.

    It only measures: the reference does not reach the sampler. A new run (a step of index 0) starts a new record.

    Args:
        reference: the truth, (C, X, Y, Z) with C = 1 or (X, Y, Z), in prior units.
        operator: A on volumes (C, X, Y, Z), for the data residual.
        measurement: y, (C, *range_shape).
        slice_axis: of the slice difference; the prior's.
        lower_bound: the prior's, so that the last step's numbers are those of the result.
        lpips: measures LPIPS at every step too, which takes time.
        shown: brings a step's volume to the reference's grid; None: it is there.

    Attributes:
        records: one for each step of the last volume or sample, with the same keys: "step" (from 1), "sigma", then for
            each view "axial_psnr" (dB), "axial_ssim", "axial_lpips", then "slice_difference", "slice_gap" (signed) and
            "data_residual". Numbers that could not be measured are None.

    Raises:
        InputError: an operator without a measurement or the reverse.

    Example:
        >>> recorder = StepRecorder(reference=volume)
        >>> inferer = SliceDiffusionInferer(recipe, callback=recorder)
        >>> result = inferer(measurement[None], network)
        >>> recorder.write("steps.csv")
        >>> step_curves({"DDS+ISCS": recorder.records}, "steps.png")
    """

    def __init__(
        self,
        *,
        reference: Tensor | None = None,
        operator: Callable[[Tensor], Tensor] | None = None,
        measurement: Tensor | None = None,
        slice_axis: int = 2,
        lower_bound: float = -math.inf,
        lpips: SliceLPIPS | None = None,
        shown: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        if (operator is None) != (measurement is None):
            missing = "operator" if operator is None else "measurement"
            raise InputError(f"{missing}: found none, expected operator and measurement or neither")
        self.reference = reference
        self.operator = operator
        self.measurement = measurement
        self.slice_axis = slice_axis
        self.lower_bound = lower_bound
        self.lpips = lpips
        self.shown = shown
        self.records: list[dict[str, Any]] = []

    def __call__(self, step: State) -> None:
        """Measure a step."""
        if step.index == 0:
            self.records = []
        volume = step.x0_hat.clamp(min=self.lower_bound)
        self.records.append({"step": step.index + 1, "sigma": step.sigma, **self._compare(volume)})

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
        shown = volume if self.shown is None else self.shown(volume)
        if self.reference is None:
            difference = slice_difference(shown.squeeze(0), axis)
        else:
            summary = summarise(shown, self.reference.to(shown.device), slice_axis=axis, lpips=self.lpips)
            views = {key: summary[key.split("_")[0]][key.split("_")[1]] for key in views}
            difference, gap = (summary["slice_difference"][key] for key in ("reconstruction", "gap"))
        if self.operator is not None:
            residual = data_residual(volume, self.measurement.to(volume.device), self.operator)
        return {**views, "slice_difference": difference, "slice_gap": gap, "data_residual": residual}
