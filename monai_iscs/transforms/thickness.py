# SPDX-License-Identifier: Apache-2.0
"""Thicker slices from thin ones."""

from __future__ import annotations

import torch
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.transforms import Transform

from monai_iscs.errors import InputError
from monai_iscs.scans.meta import grid_of, image_name
from monai_iscs.scans.thick_slices import ThickSliceScan
from monai_iscs.transforms.checks import real_image

SAME = 0.01  # share of the thickness by which a volume's slices may be thicker than asked for


class ThickenSlices(Transform):
    """Average the slices of a volume along z to another thickness.

    Exact for any ratio: a thin slice that two thick ones share counts for its share in each. An incomplete thick slice
    at the end is left out.

    Args:
        thickness: of the result's slices, mm.

    Raises:
        InputError: a thickness that is not above 0.
    """

    def __init__(self, thickness: float) -> None:
        if not thickness > 0:
            raise InputError(f"thickness: found {thickness:g} mm, expected more than 0")
        self.thickness = thickness

    def __call__(self, img: MetaTensor) -> MetaTensor:
        """Map (C, X, Y, Z) to (C, X, Y, Z').

        Raises:
            InputError: slices that are thicker already, or too few of them for one, or an image that is complex or of
                another shape.
        """
        img = real_image(img)
        spacing = float(affine_to_spacing(img.affine)[2])
        ratio = self.thickness / spacing
        if ratio < 1 - SAME:
            raise InputError(
                f"{image_name(img)}: found slices of {spacing:g} mm, expected at most {self.thickness:g} mm"
            )
        if ratio <= 1 + SAME:
            return img
        scan, grid = ThickSliceScan(factor=ratio), grid_of(img)
        count = int(img.shape[3] / ratio + SAME)
        if count < 1:
            raise InputError(
                f"{image_name(img)}: found {img.shape[3]} slices of {spacing:g} mm, expected enough for one of "
                f"{self.thickness:g} mm"
            )
        thick = scan.operator(grid)(img.as_tensor())[..., :count].contiguous()
        result = MetaTensor(thick).copy_meta_from(img)
        result.affine = torch.tensor(scan.measurement_affine(grid), dtype=torch.float64)
        return result
