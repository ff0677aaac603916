# SPDX-License-Identifier: Apache-2.0
"""How much of a known lesion a reconstruction shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from monai_iscs.errors import InputError

SUPERSAMPLING = 5  # points a voxel and axis: a sphere of 4 mm in voxels of 3 mm is right within 1 % of its volume
SHELL = (1.0, 4.0)  # mm from the sphere's surface: the tissue it is compared with, past the partly filled voxels


@dataclass(frozen=True)
class Lesion:
    """A sphere of other attenuation.

    Attributes:
        centre: (x, y, z) in mm from the centre of the volume's first voxel, along its axes.
        diameter: mm.
        contrast: what it adds, in the volume's units.
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


def measure_lesions(
    reconstruction: Tensor, reference: Tensor, lesions: Sequence[Lesion], spacing: Sequence[float]
) -> list[dict[str, Any]]:
    """Contrast and detectability of known lesions.

    A lesion's contrast is the slope of the least-squares line of the voxels' values over their filled share, in the
    sphere and a shell of 1 to 4 mm around it: for voxels that are all full or empty the mean inside less the mean
    outside, and right for lesions of the size of a voxel too. Recovered is the reconstruction's contrast over the
    reference's; the contrast-to-noise ratio (CNR) is the reconstruction's contrast over the standard deviation of its
    shell, with the lesion's sign: a lesion that turned into its opposite has a negative one.

    Args:
        reconstruction: (X, Y, Z).
        reference: the volume with the lesions, (X, Y, Z).
        lesions: what was put into the reference.
        spacing: voxel size along x, y, z in mm.

    Returns:
        For each lesion `{"diameter", "contrast", "recovered", "cnr"}`; `contrast` is what the reference shows.

    Raises:
        InputError: shapes that differ, or a lesion too near to another or to the border to have a shell.
    """
    if reconstruction.shape != reference.shape:
        raise InputError(
            f"reconstruction: found shape {tuple(reconstruction.shape)}, expected the reference's "
            f"{tuple(reference.shape)}"
        )
    shape = tuple(reference.shape)
    shares = [filled_share(shape, spacing, lesion) for lesion in lesions]
    others = torch.stack(shares).sum(0)
    results = []
    for lesion, share in zip(lesions, shares, strict=True):
        beyond = distances(shape, spacing, lesion.centre) - lesion.diameter / 2
        shell = (beyond >= SHELL[0]) & (beyond <= SHELL[1]) & (others == 0)
        if not bool((share > 0).any()) or int(shell.sum()) < 2:
            raise InputError(f"a lesion of {lesion.diameter:g} mm at {lesion.centre} mm has no voxel or no shell")
        around = (share > 0) | shell
        filled = (share[around] - share[around].mean()).to(reference)
        found, true = (
            float(filled @ volume[around.to(volume.device)] / (filled @ filled))
            for volume in (reconstruction, reference)
        )
        sign = 1 if lesion.contrast > 0 else -1
        results.append(
            {
                "diameter": lesion.diameter,
                "contrast": true,
                "recovered": found / true,
                "cnr": sign
                * found
                / max(float(reconstruction[shell.to(reconstruction.device)].std()), torch.finfo(reference.dtype).tiny),
            }
        )
    return results
