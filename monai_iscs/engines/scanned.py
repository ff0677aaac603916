# SPDX-License-Identifier: Apache-2.0
"""Slices with what a scan shows of them: what a conditioned prior is trained on."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.data import MetaTensor, PersistentDataset
from monai.transforms import SpatialCrop, Transform
from tqdm import tqdm

from monai_iscs.classical import direct
from monai_iscs.errors import InputError
from monai_iscs.randomness import random_stream
from monai_iscs.scans import ConeBeamScan
from monai_iscs.scans.meta import from_meta_tensor, grid_of
from monai_iscs.transforms import FitInPlane, SimulateMeasurement


class ScanVolume(Transform):
    """From a volume's file to its slices on a prior's grid, and to those of a scan's direct reconstruction.

    Args:
        read: from ``{"image": path}`` to ``{"image": volume}``, ``(1, X, Y, Z)`` in the prior's units, on its file's
            grid.
        size: pixels a side of the prior's slices.
        unit_attenuation: of the scan, see `ConeBeamScan`.
        length: mm along z that a scan sees, at most; of longer volumes a part is scanned.
    """

    def __init__(
        self, read: Callable[[dict], dict], *, size: int, unit_attenuation: float, length: float = 320.0
    ) -> None:
        self.read, self.size, self.unit_attenuation, self.length = read, size, unit_attenuation, length

    def __call__(self, item: dict[str, Any]) -> dict[str, MetaTensor]:
        """Scan it.

        Args:
            item: path ``image``, ``part`` (where the scanned part of a long volume is, from 0, its first slices, to 1,
                its last), ``views``, ``photons`` (None: no noise) and the noise's ``seed``.

        Returns:
            ``image`` and ``condition``, ``(1, size, size, Z)``, float16.
        """
        volume = self.read({"image": item["image"]})["image"]
        slices = min(volume.shape[-1], max(1, int(self.length / grid_of(volume).spacing[2])))
        first = round(item["part"] * (volume.shape[-1] - slices))
        volume = SpatialCrop(roi_start=(0, 0, first), roi_end=(*volume.shape[1:3], first + slices))(volume)
        scan = ConeBeamScan(size=self.size, views=item["views"], unit_attenuation=self.unit_attenuation)
        measurement = from_meta_tensor(SimulateMeasurement(scan, photons=item["photons"], seed=item["seed"])(volume))
        image, found = FitInPlane(self.size)(volume), direct(measurement)
        beyond = (found.shape[-1] - image.shape[-1]) // 2  # slices of the scan on both sides of the volume
        condition = found[..., beyond : beyond + image.shape[-1]]
        return {"image": image.as_tensor().half(), "condition": condition.half()}


def load_scanned_slices(
    files: Sequence[str],
    read: Callable[[dict], dict],
    *,
    size: int,
    unit_attenuation: float,
    views: Sequence[int],
    photons: Sequence[float | None],
    cache_dir: str | os.PathLike[str],
    scans: int = 1,
    every: int = 1,
    at_least: int = 1,
    seed: int = 0,
) -> list[dict]:
    """Scans volumes and keeps their slices in memory, with those of the scans' direct reconstructions.

    Each scan is simulated as `ConeBeamScan` does it, of the volume on its own grid, or of a part of it by chance. It
    takes about a minute of a core; MONAI's `PersistentDataset` keeps the results on disk.

    Args:
        files: paths of the volumes.
        read: see `ScanVolume`.
        size: pixels a side of the prior's slices.
        unit_attenuation: of the scan, see `ConeBeamScan`.
        views: numbers of views; each scan has one of them by chance.
        photons: the same for photons a detector pixel; None: without noise.
        cache_dir: folder of the scans. It must be another one after a change of `read`, `size` or `unit_attenuation`.
        scans: of each volume.
        every: keep one slice in ``every``, and at least one of each volume.
        at_least: number of slices that are needed, such as for one batch.
        seed: of the choices and of the noise.

    Returns:
        One ``{"image": tensor, "condition": tensor}`` of shape ``(1, size, size)`` for each slice.

    Raises:
        InputError: there are fewer slices than needed, or a volume that the scan cannot see completely.
    """
    items = []
    for index, file in enumerate(list(files) * scans):
        random = random_stream(seed, "measurement", index)
        items.append(
            {
                "image": file,
                "part": float(torch.rand((), generator=random)),
                "views": views[int(torch.randint(len(views), (), generator=random))],
                "photons": photons[int(torch.randint(len(photons), (), generator=random))],
                "seed": seed + index,
            }
        )
    transform = ScanVolume(read, size=size, unit_attenuation=unit_attenuation)
    slices = []
    for pair in tqdm(PersistentDataset(items, transform, cache_dir), desc="scanning volumes", unit="scan"):
        stacks = [pair[name].movedim(-1, 0) for name in ("image", "condition")]
        first = min(every, len(stacks[0])) // 2
        slices += [
            {"image": image, "condition": condition}
            for image, condition in zip(*(stack[first::every] for stack in stacks), strict=True)
        ]
    if len(slices) < at_least:
        raise InputError(f"{files[0]}: found {len(slices)} slices, expected at least {at_least} (one batch)")
    return slices
