# SPDX-License-Identifier: Apache-2.0
"""All metrics of one reconstruction, in the layout of `metrics.json`."""

from __future__ import annotations

from typing import Any

import torch
from monai.data import MetaTensor

from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import InputError
from monai_iscs.metrics.lpips import SliceLPIPS
from monai_iscs.metrics.per_view import SSIM_WINDOW, VIEWS, psnr_per_slice, ssim_per_slice, value_range
from monai_iscs.metrics.slice_difference import slice_difference

SAME_GRID = 1e-2  # of a voxel: largest distance of two equal grids' voxel centres


def _volume(image: torch.Tensor, name: str) -> torch.Tensor:
    """A plain (X, Y, Z) tensor of a volume with or without leading axes of length one."""
    shape = tuple(image.shape)
    if len(shape) < 3 or any(n != 1 for n in shape[:-3]):
        raise InputError(f"{name}: found shape {shape}, expected one volume (X, Y, Z)")
    return torch.Tensor.as_subclass(real_tensor(image, name).detach(), torch.Tensor).reshape(shape[-3:])


def _check_grid(reconstruction: torch.Tensor, reference: torch.Tensor) -> None:
    """Refuse two volumes on different grids, by shape and, where both have one, by affine."""
    if reconstruction.shape[-3:] != reference.shape[-3:]:
        raise InputError(
            f"reconstruction: found shape {tuple(reconstruction.shape[-3:])}, expected the reference's "
            f"{tuple(reference.shape[-3:])}"
        )
    if not (isinstance(reconstruction, MetaTensor) and isinstance(reference, MetaTensor)):
        return
    a, b = (image.affine.double().reshape(-1, 4, 4)[0] for image in (reconstruction, reference))
    last = torch.tensor([n - 1 for n in reference.shape[-3:]], dtype=torch.float64)
    corners = torch.cat([torch.cartesian_prod(*(torch.stack([n * 0, n]) for n in last)), torch.ones(8, 1).double()], 1)
    apart = float(((a - b) @ corners.T)[:3].norm(dim=0).max())
    voxel = float(b[:3, :3].norm(dim=0).min())
    if apart > SAME_GRID * voxel:
        raise InputError(
            f"reconstruction: found a grid up to {apart:.3g} mm from the reference's, expected the same grid"
        )


def summarise(
    reconstruction: torch.Tensor,
    reference: torch.Tensor,
    *,
    slice_axis: int = 2,
    data_range: float | None = None,
    lpips: SliceLPIPS | None = None,
) -> dict[str, Any]:
    """Per-view PSNR, SSIM and LPIPS and the slice difference of a reconstruction.

    Args:
        reconstruction: RAS volume (X, Y, Z), leading axes of length one allowed, in prior units.
        reference: the truth on the same grid.
        slice_axis: axis (0, 1, 2 = x, y, z) that the prior's slices stack along.
        data_range: None: the reference's maximum minus its minimum.
        lpips: measures LPIPS, which needs time and weights; None: not measured.

    Returns:
        `{"axial": {"psnr", "ssim", "lpips"}, "coronal": ..., "sagittal": ..., "slice_difference":
        {"reconstruction", "reference", "gap", "excess"}, "data_range", "lpips_net"}`. `gap` is signed (Eq. 19
        without the bars), `excess` its positive part. A missing number is None: LPIPS that isn't measured, SSIM and
        LPIPS of a view that is too thin for them, and all of them if all slices are flat. Equal volumes have infinite
        PSNR.

    Raises:
        InputError: if the two aren't volumes on the same grid, are complex, hold NaN, or the reference is constant.
    """
    _check_grid(reconstruction, reference)
    x, y = _volume(reconstruction, "reconstruction"), _volume(reference, "reference")
    for name, volume in (("reconstruction", x), ("reference", y)):
        if not bool(torch.isfinite(volume).all()):
            raise InputError(f"{name}: found NaN or infinite values, expected finite ones")
    data_range = value_range(y) if data_range is None else data_range
    if not data_range > 0:
        raise InputError(f"data_range: found {data_range:g}, expected a positive range (a constant reference?)")
    summary: dict[str, Any] = {}
    for view, axis in VIEWS.items():
        side = min(n for i, n in enumerate(y.shape) if i != axis)
        measures = {"psnr": psnr_per_slice}
        if side >= SSIM_WINDOW:
            measures["ssim"] = ssim_per_slice
        if lpips is not None and side >= lpips.smallest_side:
            measures["lpips"] = lpips
        values = {name: _mean(measure(x, y, axis, data_range=data_range)) for name, measure in measures.items()}
        summary[view] = dict.fromkeys(("psnr", "ssim", "lpips")) | values
    found, true = slice_difference(x, slice_axis), slice_difference(y, slice_axis)
    summary["slice_difference"] = {
        "reconstruction": found,
        "reference": true,
        "gap": found - true,
        "excess": max(0.0, found - true),
    }
    return {**summary, "data_range": data_range, "lpips_net": None if lpips is None else lpips.net}


def _mean(values: torch.Tensor) -> float | None:
    """Mean over the slices that weren't dropped; None if all were."""
    mean = float(values.nanmean())
    return None if mean != mean else mean
