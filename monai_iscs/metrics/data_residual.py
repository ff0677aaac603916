# SPDX-License-Identifier: Apache-2.0
"""How far a reconstruction is from its measurement: ||A x - y|| / ||y||."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.metrics.metric import CumulativeIterationMetric
from monai.metrics.utils import do_metric_reduction
from monai.utils import MetricReduction

from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import InputError
from monai_iscs.scans.meta import from_meta_tensor


def data_residual(
    volume: torch.Tensor, measurement: torch.Tensor, operator: Callable[[torch.Tensor], torch.Tensor]
) -> float:
    """Relative residual ||A x - y|| / ||y||; needs no reference. 0 reproduces y, 1 is no better than an empty volume.

    Args:
        volume: x, (..., *domain_shape of the operator), such as (C, X, Y, Z).
        measurement: y, (..., *range_shape), such as (C, view, v, u), on the device of `volume`.
        operator: A, a `LinearOperator` or any function that simulates the scanner.

    Raises:
        InputError: if A x isn't shaped like y, y is zero or not finite, or one of them is complex.
    """
    x, y = real_tensor(volume, "volume"), real_tensor(measurement, "measurement")
    x, y = (torch.Tensor.as_subclass(v.detach(), torch.Tensor) for v in (x, y))
    seen = real_tensor(operator(x), "the operator's result")
    if seen.shape != y.shape:
        raise InputError(
            f"measurement: found shape {tuple(y.shape)}, expected {tuple(seen.shape)}, the operator's for a "
            f"volume of shape {tuple(x.shape)}"
        )
    norm = float(y.double().norm())
    if not 0 < norm < float("inf"):
        raise InputError(f"measurement: found a norm of {norm:g}, expected a positive, finite one")
    return float((seen.double() - y.double()).norm()) / norm


def residual_of_views(found: torch.Tensor, measured: torch.Tensor) -> torch.Tensor:
    """The relative residual of each view, (views,), of projections (1, view, v, u)."""
    away, size = (part.flatten(2).norm(dim=(0, 2), dtype=torch.float64) for part in (found - measured, measured))
    return away / size.clamp(min=1e-12)


class DataResidual(CumulativeIterationMetric):
    """Mean relative residual of volumes (B, C, X, Y, Z), given as `y_pred`, to their measurements, given as `y`.

    Args:
        operator: A, a `LinearOperator` or any function from (C, X, Y, Z) to (C, *range_shape); None: that of each
            measurement, a `MetaTensor` of `SimulateMeasurement` or `TakeAsMeasured`.
        reduction: see `monai.metrics.RegressionMetric`.
    """

    def __init__(
        self,
        operator: Callable[[torch.Tensor], torch.Tensor] | None = None,
        *,
        reduction: MetricReduction | str = MetricReduction.MEAN,
    ) -> None:
        super().__init__()
        self.operator = operator
        self.reduction = reduction

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        if y is None or len(y) != len(y_pred):
            found = "none" if y is None else len(y)
            raise InputError(f"y: found {found} measurements for {len(y_pred)} volumes, expected one for each")
        residuals = []
        for volume, measured in zip(y_pred, y, strict=True):
            operator = from_meta_tensor(measured).operator if self.operator is None else self.operator
            residuals.append(data_residual(volume, measured, operator))
        return torch.tensor(residuals)[:, None]

    def aggregate(self) -> torch.Tensor:
        """Reduce what was accumulated."""
        return do_metric_reduction(self.get_buffer(), self.reduction)[0]
