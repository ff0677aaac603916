# SPDX-License-Identifier: Apache-2.0
"""Known lesions in a real volume, to measure how they are reconstructed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.transforms import Transform
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.scans.meta import image_name
from monai_iscs.transforms.checks import real_image

SUPERSAMPLING = 5  # points per voxel and axis: a sphere of 4 mm in voxels of 3 mm is right within 1 % of its volume
SHELL = (1.0, 4.0)  # mm from the sphere's surface: tissue to compare with, outside the partly filled voxels


@dataclass(frozen=True)
class Lesion:
    """A sphere of different attenuation.

    Attributes:
        centre: (x, y, z) in mm from the centre of the volume's first voxel, along its axes.
        diameter: mm.
        contrast: added to the volume, in its units.
    """

    centre: tuple[float, float, float]
    diameter: float
    contrast: float


def distances(shape: Sequence[int], spacing: Sequence[float], centre: Sequence[float]) -> Tensor:
    """Distance in mm of every voxel's centre from a point, (X, Y, Z)."""
    squares = [
        (torch.arange(n, dtype=torch.float64) * step - middle) ** 2
        for n, step, middle in zip(shape, spacing, centre, strict=True)
    ]
    return (squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :]).sqrt()


def filled_share(shape: Sequence[int], spacing: Sequence[float], lesion: Lesion) -> Tensor:
    """Share of every voxel that lies inside the sphere, (X, Y, Z), float32."""
    offsets = (torch.arange(SUPERSAMPLING, dtype=torch.float64) + 0.5) / SUPERSAMPLING - 0.5
    axes = [
        ((torch.arange(n, dtype=torch.float64)[:, None] + offsets) * step - middle).square().flatten()
        for n, step, middle in zip(shape, spacing, lesion.centre, strict=True)
    ]
    radius = lesion.diameter / 2
    # only the voxels around the sphere are sampled finely
    boxes = [
        slice(
            max(0, int((middle - radius) / step) - 1) * SUPERSAMPLING,
            min(n, int((middle + radius) / step) + 3) * SUPERSAMPLING,
        )
        for n, step, middle in zip(shape, spacing, lesion.centre, strict=True)
    ]
    x, y, z = (axis[box] for axis, box in zip(axes, boxes, strict=True))
    inside = (x[:, None, None] + y[None, :, None] + z[None, None, :] <= radius**2).float()
    counts = [len(axis) // SUPERSAMPLING for axis in (x, y, z)]
    fine = inside.reshape(counts[0], SUPERSAMPLING, counts[1], SUPERSAMPLING, counts[2], SUPERSAMPLING)
    share = torch.zeros(tuple(shape))
    share[tuple(slice(box.start // SUPERSAMPLING, box.stop // SUPERSAMPLING) for box in boxes)] = fine.mean((1, 3, 5))
    return share


class InsertLesions(Transform):
    """Add spheres of known size and contrast to the soft tissue of a volume.

    Each diameter comes with each contrast `repeats` times. Places are drawn in tissue whose values lie in a range all
    around the sphere and its shell, apart from each other; the same volume and seed give the same places. A voxel gets
    the contrast times its share inside the sphere.

    Args:
        diameters: mm.
        contrasts: added by the spheres, in the volume's units.
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
        """Return (1, X, Y, Z) with the lesions, and their list.

        Raises:
            InputError: too little soft tissue to hold them, or an image that is complex or of another shape.
        """
        img = real_image(img)
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
            room = np.minimum(room, distances(values.shape, spacing, centre).numpy() - reach)
        added = sum(lesion.contrast * filled_share(values.shape, spacing, lesion) for lesion in lesions)
        return MetaTensor((volume + added.to(volume))[None]).copy_meta_from(img), lesions
