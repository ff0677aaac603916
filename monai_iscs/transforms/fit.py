# SPDX-License-Identifier: Apache-2.0
"""Bringing slices to the prior's in-plane size: pad to a square with air, average down, never up."""

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
from monai_iscs.transforms.checks import image_name


def area_weights(fine: int, coarse: int) -> torch.Tensor:
    """Weights (coarse, fine) that average a line of `fine` pixels over `coarse` equal intervals.

    Exact for any ratio (a pixel that two intervals share counts for its share in each), so it moves nothing;
    adaptive pooling, which is what `Resize(mode="area")` does, takes whole pixels and moves edges by up to half of
    one unless the ratio is a whole number, where both are the plain mean.
    """
    ratio = fine / coarse
    start = torch.arange(coarse, dtype=torch.float64)[:, None] * ratio
    pixel = torch.arange(fine, dtype=torch.float64)[None]
    overlap = torch.minimum(start + ratio, pixel + 1) - torch.maximum(start, pixel)
    return (overlap.clamp(min=0) / ratio).float()


class FitInPlane(InvertibleTransform):
    """Make the first two axes of a volume, or of one slice of it, `size` long, keeping its slices and its geometry.

    The shorter in-plane side is padded to a square (and a small one to `size`); a larger square is averaged down
    by area. The affine follows: after 256 -> 128 a voxel's centre is half a fine voxel further in.

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
        shape = tuple(data.shape[1:])
        side, before, matrix = self._grid(shape)
        after = [side - n - b for n, b in zip(shape[:2], before, strict=True)]
        across = (0, 0) * (len(shape) - 2)
        out = F.pad(data, (*across, before[1], after[1], before[0], after[0]), value=self.fill)
        if side > self.size:
            weights = area_weights(side, self.size).to(out)
            out = torch.einsum("by,cxy...->cxb...", weights, out)
            out = torch.einsum("ax,cxy...->cay...", weights, out).contiguous()
        meta = self.track_transform_meta(
            img, sp_size=out.shape[1:], affine=matrix, orig_size=shape, transform_info=self.get_transform_info()
        )
        return MetaTensor(out).copy_meta_from(meta) if isinstance(img, MetaTensor) else out

    def inverse(self, data: torch.Tensor) -> torch.Tensor:
        """Map (C, size, size, Z) back to the original grid: linear interpolation up, padding cropped."""
        shape = self.pop_transform(data)["orig_size"]
        side, before, matrix = self._grid(shape)
        out = data.as_tensor()
        if side > self.size:
            out = F.interpolate(out[None], (side, side, shape[2]), mode="trilinear", align_corners=False)[0]
        out = out[:, before[0] : before[0] + shape[0], before[1] : before[1] + shape[1]].contiguous()
        result = MetaTensor(out).copy_meta_from(data)
        result.affine = data.affine @ torch.linalg.inv(matrix)
        return result

    def _grid(self, shape: Sequence[int]) -> tuple[int, list[int], torch.Tensor]:
        """Side of the padded square, padding before the first two axes, and the result's indices -> `shape`'s."""
        side = max(*shape[:2], self.size)
        before = [(side - n) // 2 for n in shape[:2]]
        ratio = side / self.size
        matrix = torch.diag(torch.tensor([ratio, ratio, 1.0, 1.0], dtype=torch.float64))
        matrix[:2, 3] = (ratio - 1) / 2 - torch.tensor(before, dtype=torch.float64)
        return side, before, matrix


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
