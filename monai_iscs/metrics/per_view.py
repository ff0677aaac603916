# SPDX-License-Identifier: Apache-2.0
"""PSNR and SSIM of a volume's axial, coronal and sagittal slices, as in the authors' released evaluation."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod

import torch
from monai.metrics import SSIMMetric
from monai.metrics.regression import RegressionMetric
from monai.utils import MetricReduction

from monai_iscs.dtypes import computing_dtype, real_tensor
from monai_iscs.errors import InputError
from monai_iscs.precision import computing_in

VIEWS = {"axial": 2, "coronal": 1, "sagittal": 0}  # view -> axis of a RAS volume that its slices stack along
SSIM_WINDOW = 11
FLAT = 1e-6  # a reference slice whose max - min is at most this is dropped
CHUNK = 2**22  # pixels for SSIM at a time


def view_axis(view: str) -> int:
    """Axis (0, 1, 2) of a RAS volume that the slices of `view` stack along."""
    if view not in VIEWS:
        raise InputError(f"view: found {view!r}, expected one of {', '.join(VIEWS)}")
    return VIEWS[view]


def value_range(reference: torch.Tensor) -> float:
    """Maximum minus minimum of a volume."""
    return float(reference.max() - reference.min())


def slice_stacks(reconstruction: torch.Tensor, reference: torch.Tensor, axis: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Both volumes (X, Y, Z) as plain stacks (S, H, W) to compute with, slices along `axis`."""
    reconstruction, reference = real_tensor(reconstruction, "reconstruction"), real_tensor(reference, "reference")
    if reconstruction.shape != reference.shape:
        raise InputError(
            f"reconstruction: found shape {tuple(reconstruction.shape)}, expected the reference's "
            f"{tuple(reference.shape)}"
        )
    if reference.ndim != 3:
        raise InputError(f"reference: found shape {tuple(reference.shape)}, expected a volume (X, Y, Z)")
    stacks = [torch.Tensor.as_subclass(v, torch.Tensor).movedim(axis, 0) for v in (reconstruction, reference)]
    return stacks[0], stacks[1]


def with_contrast(stack: torch.Tensor) -> torch.Tensor:
    """(S,) bool: which slices of a stack (S, H, W) are not flat."""
    return stack.amax((1, 2)) - stack.amin((1, 2)) > FLAT


def _without_flat(values: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """`values` (S,) with NaN where the slice of the reference stack (S, H, W) is flat."""
    return values.masked_fill(~with_contrast(reference), float("nan"))


def psnr_per_slice(
    reconstruction: torch.Tensor, reference: torch.Tensor, axis: int, *, data_range: float | None = None
) -> torch.Tensor:
    """Peak signal-to-noise ratio of every slice, 10 log10(range² / MSE) dB.

    Args:
        reconstruction: volume (X, Y, Z).
        reference: volume of the same shape.
        axis: axis that the slices stack along.
        data_range: None: the reference volume's maximum minus its minimum.

    Returns:
        (S,) float64; NaN where the reference slice is flat, infinite where the slices are equal.
    """
    x, y = slice_stacks(reconstruction, reference, axis)
    data_range = value_range(y) if data_range is None else data_range
    error = torch.stack([difference.double().square().mean() for difference in (x - y).contiguous()])
    return _without_flat(10 * torch.log10(data_range**2 / error), y)


def ssim_per_slice(
    reconstruction: torch.Tensor, reference: torch.Tensor, axis: int, *, data_range: float | None = None
) -> torch.Tensor:
    """Structural similarity of every slice: MONAI's 2D SSIM, Gaussian window of 11 pixels and sigma 1.5, no padding.

    Args and result as in `psnr_per_slice`.

    Raises:
        InputError: if the slices are smaller than the window.
    """
    x, y = slice_stacks(reconstruction, reference, axis)
    if min(y.shape[1:]) < SSIM_WINDOW:
        raise InputError(
            f"reference: found slices of {tuple(y.shape[1:])} pixels along axis {axis}, expected at least "
            f"{SSIM_WINDOW} x {SSIM_WINDOW} for SSIM"
        )
    metric = SSIMMetric(2, data_range=value_range(y) if data_range is None else data_range, win_size=SSIM_WINDOW)
    size = max(1, CHUNK // y[0].numel())
    with computing_in("float32", y.device):
        parts = [metric(a[:, None], b[:, None])[:, 0] for a, b in zip(x.split(size), y.split(size), strict=True)]
    return _without_flat(torch.cat(parts), y)


class ViewMetric(RegressionMetric):
    """A per-slice measure, averaged over the slices of one view whose reference isn't flat.

    Volumes are RAS, (B, C, X, Y, Z); every item and channel is measured against its own reference's range.

    Args:
        view: "axial" (slices along z), "coronal" (along y) or "sagittal" (along x).
        data_range: None: each reference volume's maximum minus its minimum.
        reduction: see `monai.metrics.RegressionMetric`.
        get_not_nans: see `monai.metrics.RegressionMetric`.
    """

    def __init__(
        self,
        view: str,
        *,
        data_range: float | None = None,
        reduction: MetricReduction | str = MetricReduction.MEAN,
        get_not_nans: bool = False,
    ) -> None:
        super().__init__(reduction=reduction, get_not_nans=get_not_nans)
        self.axis = view_axis(view)
        self.data_range = data_range

    @abstractmethod
    def per_slice(
        self, reconstruction: torch.Tensor, reference: torch.Tensor, axis: int, *, data_range: float | None
    ) -> torch.Tensor:
        """The measure of every slice."""

    def _check_shape(self, y_pred: torch.Tensor, y: torch.Tensor) -> None:
        if y_pred.shape != y.shape or y.ndim != 5:
            raise InputError(
                f"y_pred: found shape {tuple(y_pred.shape)} for a reference of shape {tuple(y.shape)}, expected both "
                "(B, C, X, Y, Z)"
            )
        computing_dtype(y_pred, "y_pred")
        computing_dtype(y, "y")

    def _compute_metric(self, y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.tensor(
            [[self._mean(a, b) for a, b in zip(p, r, strict=True)] for p, r in zip(y_pred, y, strict=True)]
        )

    def _mean(self, y_pred: torch.Tensor, y: torch.Tensor) -> float:
        """Mean over one volume's slices; NaN if they are too small, so that other volumes' results are not lost."""
        try:
            return float(self.per_slice(y_pred, y, self.axis, data_range=self.data_range).nanmean())
        except InputError as error:
            warnings.warn(f"{type(self).__name__}: {error}; this volume is left out", stacklevel=2)
            return math.nan


class ViewPSNR(ViewMetric):
    """Mean PSNR in dB of one view's slices."""

    per_slice = staticmethod(psnr_per_slice)


class ViewSSIM(ViewMetric):
    """Mean SSIM of one view's slices."""

    per_slice = staticmethod(ssim_per_slice)
