# SPDX-License-Identifier: Apache-2.0
"""Bringing slices to the prior's in-plane size: square pixels, padded to a square with air, averaged down."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform

from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import InputError
from monai_iscs.grid import SQUARE, fit_square
from monai_iscs.scans.meta import image_name


def area_weights(fine: int, coarse: int) -> torch.Tensor:
    """Weights (coarse, fine) that average a line of `fine` pixels over `coarse` equal intervals.

    Exact for any ratio (a pixel that two intervals share counts for its share in each), so it moves nothing. Adaptive
    pooling, as in `Resize(mode="area")`, takes whole pixels and moves edges by up to half a pixel, unless the ratio is
    a whole number: then both are the plain mean.
    """
    return _overlaps(coarse, fine, fine / coarse, 0.0).float()


def _overlaps(count: int, pixels: int, ratio: float, first: float) -> torch.Tensor:
    """Share (count, pixels) of each of `count` intervals of `ratio` pixels, from `first` on, by pixel."""
    start = first + torch.arange(count, dtype=torch.float64)[:, None] * ratio
    pixel = torch.arange(pixels, dtype=torch.float64)[None]
    overlap = torch.minimum(start + ratio, pixel + 1) - torch.maximum(start, pixel)
    return overlap.clamp(min=0) / ratio


def _between(count: int, pixels: int, ratio: float, first: float) -> torch.Tensor:
    """Weights (count, pixels) that interpolate linearly between pixels, at the centres of the same intervals."""
    centre = (first + (torch.arange(count, dtype=torch.float64) + 0.5) * ratio - 0.5).clamp(0, pixels - 1)
    return (1 - (centre[:, None] - torch.arange(pixels, dtype=torch.float64)[None]).abs()).clamp(min=0)


def _along(volume: torch.Tensor, weights: Sequence[torch.Tensor], *, fill: float = 0.0) -> torch.Tensor:
    """`volume` (C, X, Y, ...) with a matrix along X and one along Y; `fill` completes rows that sum to less than 1."""
    x, y = (matrix.to(volume) for matrix in weights)
    out = torch.einsum("ax,cxy...->cay...", x, volume - fill)
    return torch.einsum("by,cay...->cab...", y, out).contiguous() + fill


class FitInPlane(InvertibleTransform):
    """Make the first two axes of a volume, or of one slice of it, `size` long, keeping its slices and its geometry.

    The shorter in-plane side is padded to a square (and a small one to `size`); a larger square is averaged down
    by area. The affine follows: after 256 -> 128 a voxel's centre is half a fine voxel further in. Where a `MetaTensor`
    has pixels that are not square, all of this happens in mm: its pixels become square ones, of the shorter side where
    they fit, by shares of area.

    Args:
        size: in-plane size of the result, voxels.
        fill: value of the padding (air in the prior's range: 0).
    """

    def __init__(self, size: int, *, fill: float = 0.0) -> None:
        if size < 1:
            raise InputError(f"size: found {size}, expected at least 1 voxel")
        self.size = size
        self.fill = fill

    def __call__(self, img: torch.Tensor) -> torch.Tensor:
        """Map (C, X, Y, Z) to (C, size, size, Z), or a slice (C, X, Y) to (C, size, size).

        Raises:
            InputError: an image of another shape, or a complex one.
        """
        img = real_tensor(img, image_name(img))
        if img.ndim not in (3, 4):
            raise InputError(f"{image_name(img)}: found shape {tuple(img.shape)}, expected (C, X, Y, Z) or (C, X, Y)")
        data = img.as_tensor() if isinstance(img, MetaTensor) else img
        shape, pixel = tuple(data.shape[1:]), _pixel(img)
        ratios, before, matrix = self._grid(shape, pixel)
        if pixel[0] != pixel[1]:
            weights = [
                _overlaps(self.size, n, ratio, -b) for n, ratio, b in zip(shape[:2], ratios, before, strict=True)
            ]
            out = _along(data.to(torch.promote_types(data.dtype, torch.float32)), weights, fill=self.fill)
        else:
            out = self._fit_square(data, [int(b) for b in before])
        meta = self.track_transform_meta(
            img,
            sp_size=out.shape[1:],
            affine=matrix,
            orig_size=shape,
            extra_info={"pixel": pixel},
            transform_info=self.get_transform_info(),
        )
        return MetaTensor(out).copy_meta_from(meta) if isinstance(img, MetaTensor) else out

    def _fit_square(self, data: torch.Tensor, before: Sequence[int]) -> torch.Tensor:
        side = max(*data.shape[1:3], self.size)
        after = [side - n - b for n, b in zip(data.shape[1:3], before, strict=True)]
        across = (0, 0) * (data.ndim - 3)
        out = F.pad(data, (*across, before[1], after[1], before[0], after[0]), value=self.fill)
        if side > self.size:
            weights = area_weights(side, self.size).to(out)
            out = torch.einsum("by,cxy...->cxb...", weights, out)
            out = torch.einsum("ax,cxy...->cay...", weights, out).contiguous()
        return out

    def inverse(self, data: torch.Tensor) -> torch.Tensor:
        """Map (C, size, size, Z) back to the original grid: linear interpolation up, padding cropped."""
        info = self.pop_transform(data)
        shape, pixel = info["orig_size"], [float(side) for side in info["extra_info"]["pixel"]]
        ratios, before, matrix = self._grid(shape, pixel)
        out = data.as_tensor()
        if pixel[0] != pixel[1]:  # coarser pixels by shares of area, finer ones linearly
            weights = [
                (_between if ratio > 1 else _overlaps)(n, self.size, 1 / ratio, b / ratio)
                for n, ratio, b in zip(shape[:2], ratios, before, strict=True)
            ]
            out = _along(out, weights)
        else:
            side, (x, y) = max(*shape[:2], self.size), (int(b) for b in before)
            if side > self.size:
                out = F.interpolate(out[None], (side, side, shape[2]), mode="trilinear", align_corners=False)[0]
            out = out[:, x : x + shape[0], y : y + shape[1]].contiguous()
        result = MetaTensor(out).copy_meta_from(data)
        result.affine = data.affine @ torch.linalg.inv(matrix)
        return result

    def _grid(self, shape: Sequence[int], pixel: Sequence[float]) -> tuple[list[float], list[float], torch.Tensor]:
        """For both axes: the result's pixels in old ones, the padding before; and its indices -> those of `shape`."""
        ratios, before = fit_square(shape[:2], pixel, self.size)
        matrix = torch.diag(torch.tensor([*ratios, 1.0, 1.0], dtype=torch.float64))
        matrix[:2, 3] = torch.tensor([(ratio - 1) / 2 - b for ratio, b in zip(ratios, before, strict=True)])
        return ratios, before, matrix


def _pixel(img: torch.Tensor) -> list[float]:
    """Sides of a pixel in mm; both 1 if they are equal or unknown."""
    if not isinstance(img, MetaTensor):
        return [1.0, 1.0]
    sides = [float(side) for side in img.affine[:3, :2].norm(dim=0)]
    return [1.0, 1.0] if is_square(sides) else sides


def is_square(sides: Sequence[float]) -> bool:
    """Whether a pixel with these two sides counts as square."""
    return max(sides) <= SQUARE * min(sides)


class FitInPlaned(MapTransform, InvertibleTransform):
    """Dictionary version of `FitInPlane`."""

    def __init__(self, keys: KeysCollection, size: int, *, fill: float = 0.0, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.fit = FitInPlane(size, fill=fill)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Fit every key."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.fit(result[key])
        return result

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Bring every key back to its original grid."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.fit.inverse(result[key])
        return result


FitInPlaneD = FitInPlaneDict = FitInPlaned
