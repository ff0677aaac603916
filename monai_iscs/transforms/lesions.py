# SPDX-License-Identifier: Apache-2.0
"""Known lesions in a real volume, to see what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.transforms import Transform
from scipy.ndimage import distance_transform_edt

from monai_iscs.errors import InputError
from monai_iscs.metrics.lesions import SHELL, Lesion, filled_share
from monai_iscs.transforms.checks import image_name


class InsertLesions(Transform):
    """Add spheres of known size and contrast to the soft tissue of a volume.

    Each diameter comes with each contrast `repeats` times. Places are drawn in tissue whose values lie in a range all
    around the sphere and its shell, apart from each other; the same volume and seed give the same places. A voxel gets
    the share of the contrast that it lies inside by.

    Args:
        diameters: mm.
        contrasts: what spheres add, in the volume's units.
        tissue: (low, high), values that count as soft tissue, in the volume's units.
        repeats: spheres of each diameter and contrast.
        seed: of the places.
    """

    def __init__(
        self,
        *,
        diameters: Sequence[float] = (4.0, 6.0, 8.0, 12.0),
        contrasts: Sequence[float],
        tissue: tuple[float, float],
        repeats: int = 3,
        seed: int = 0,
    ) -> None:
        self.wanted = [pair for pair in product(sorted(diameters, reverse=True), contrasts) for _ in range(repeats)]
        self.tissue, self.seed = tissue, seed

    def __call__(self, img: MetaTensor) -> tuple[MetaTensor, list[Lesion]]:
        """Give (1, X, Y, Z) with the lesions, and what they are.

        Raises:
            InputError: too little soft tissue to hold them.
        """
        spacing = [float(step) for step in affine_to_spacing(img.affine)]
        volume = img.as_tensor()[0]
        low, high = self.tissue
        values = volume.numpy()
        inside = np.pad((values >= low) & (values <= high), 1)
        room = distance_transform_edt(inside, sampling=spacing)[1:-1, 1:-1, 1:-1]  # mm to what is not tissue
        generator = np.random.default_rng(self.seed)
        lesions: list[Lesion] = []
        for diameter, contrast in self.wanted:
            reach = diameter / 2 + SHELL[1]
            places = np.argwhere(room > reach)
            if not len(places):
                raise InputError(
                    f"{image_name(img)}: found room for {len(lesions)} lesions in soft tissue, expected "
                    f"{len(self.wanted)} of {min(d for d, _ in self.wanted):g} to {self.wanted[0][0]:g} mm"
                )
            centre = places[generator.integers(len(places))] * spacing
            lesions.append(Lesion(tuple(float(c) for c in centre), diameter, contrast))
            grid = np.meshgrid(*(np.arange(n) * s for n, s in zip(values.shape, spacing, strict=True)), indexing="ij")
            away = np.sqrt(sum((axis - middle) ** 2 for axis, middle in zip(grid, centre, strict=True)))
            room = np.minimum(room, away - reach)
        added = sum(lesion.contrast * filled_share(values.shape, spacing, lesion) for lesion in lesions)
        return MetaTensor((volume + added.to(volume))[None]).copy_meta_from(img), lesions
