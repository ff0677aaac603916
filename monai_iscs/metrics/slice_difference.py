# SPDX-License-Identifier: Apache-2.0
"""The difference of neighbouring slices (Eq. 18), and its gap to the reference's (Eq. 19)."""

from __future__ import annotations

from itertools import pairwise

import torch
from monai.metrics.metric import CumulativeIterationMetric
from monai.metrics.regression import RegressionMetric
from monai.metrics.utils import do_metric_reduction
from monai.utils import MetricReduction

from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import InputError


def slice_difference(volume: torch.Tensor, slice_axis: int = 2) -> float:
    """Mean absolute difference between adjacent slices (Eq. 18): 1/(S-1) sum_i mean |x_{i+1} - x_i|.

    Args:
        volume: (X, Y, Z), in prior units.
        slice_axis: axis that the slices stack along.

    Raises:
        InputError: for another number of axes, fewer than two slices, or a complex volume.
    """
    volume = real_tensor(volume, "volume")
    if volume.ndim != 3 or volume.shape[slice_axis] < 2:
        raise InputError(
            f"volume: found shape {tuple(volume.shape)}, expected (X, Y, Z) with at least two slices along axis "
            f"{slice_axis}"
        )
    stack = torch.Tensor.as_subclass(volume, torch.Tensor).movedim(slice_axis, 0)
    return float(torch.stack([(b.double() - a.double()).abs().mean() for a, b in pairwise(stack)]).mean())


def _per_volume(batch: torch.Tensor, slice_axis: int) -> torch.Tensor:
    """Slice difference of every item and channel of (B, C, X, Y, Z), as (B, C)."""
    if batch.ndim != 5:
        raise InputError(f"y_pred: found shape {tuple(batch.shape)}, expected (B, C, X, Y, Z)")
    return torch.tensor([[slice_difference(volume, slice_axis) for volume in item] for item in batch])


class SliceDifference(CumulativeIterationMetric):
    """Mean slice difference (Eq. 18) of volumes (B, C, X, Y, Z).

    Args:
        slice_axis: axis (0, 1, 2 = x, y, z) that the slices stack along.
        reduction: see `monai.metrics.RegressionMetric`.
    """

    def __init__(self, slice_axis: int = 2, *, reduction: MetricReduction | str = MetricReduction.MEAN) -> None:
        super().__init__()
        self.slice_axis = slice_axis
        self.reduction = reduction

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        return _per_volume(y_pred, self.slice_axis)

    def aggregate(self) -> torch.Tensor:
        """Reduce what was accumulated."""
        return do_metric_reduction(self.get_buffer(), self.reduction)[0]


class SliceDifferenceGap(RegressionMetric):
    """Signed gap of the slice difference to the reference's; Eq. 19 is its absolute value.

    Negative: smoother across slices than the reference. Positive: slices are inconsistent.

    Args:
        slice_axis: axis (0, 1, 2 = x, y, z) that the slices stack along.
        reduction: see `monai.metrics.RegressionMetric`.
    """

    def __init__(self, slice_axis: int = 2, *, reduction: MetricReduction | str = MetricReduction.MEAN) -> None:
        super().__init__(reduction=reduction)
        self.slice_axis = slice_axis

    def _compute_metric(self, y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return _per_volume(y_pred, self.slice_axis) - _per_volume(y, self.slice_axis)
