# SPDX-License-Identifier: Apache-2.0
"""How much of a known lesion a reconstruction shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.metrics.patches import pair
from monai_iscs.transforms.lesions import SHELL, Lesion, distances, filled_share


def measure_lesions(
    reconstruction: Tensor, reference: Tensor, lesions: Sequence[Lesion], spacing: Sequence[float]
) -> list[dict[str, Any]]:
    """Contrast and detectability of known lesions.

    A lesion's contrast is the slope of the least-squares line of the voxels' values over their filled share, in the
    sphere and a shell of 1 to 4 mm around it: for voxels that are all full or empty the mean inside minus the mean
    outside, and also correct for lesions of the size of a voxel. Recovered is the reconstruction's contrast over the
    reference's; the contrast-to-noise ratio (CNR) is the reconstruction's contrast over the standard deviation of its
    shell, with the lesion's sign: it is negative for a lesion of the opposite contrast.

    Args:
        reconstruction: (X, Y, Z).
        reference: the volume with the lesions, (X, Y, Z).
        lesions: those in the reference.
        spacing: voxel size along x, y, z in mm.

    Returns:
        For each lesion `{"diameter", "inserted", "contrast", "recovered", "cnr"}`; `contrast` is that in the reference,
        where tissue has its own, `inserted` what the lesion adds.

    Raises:
        InputError: different shapes, or a lesion without a shell, too near to another one or to the border.
    """
    reconstruction, reference = pair(reconstruction, reference)
    shape = tuple(reference.shape)
    shares = [filled_share(shape, spacing, lesion) for lesion in lesions]
    others = torch.stack(shares).sum(0)
    results = []
    for lesion, share in zip(lesions, shares, strict=True):
        beyond = distances(shape, spacing, lesion.centre) - lesion.diameter / 2
        shell = (beyond >= SHELL[0]) & (beyond <= SHELL[1]) & (others == 0)
        if not bool((share > 0).any()) or int(shell.sum()) < 2:
            raise InputError(
                f"lesions: found one of {lesion.diameter:g} mm at {lesion.centre} mm without voxels or shell, expected "
                "both in the volume"
            )
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
                "inserted": lesion.contrast,
                "contrast": true,
                "recovered": found / true,
                "cnr": sign
                * found
                / max(float(reconstruction[shell.to(reconstruction.device)].std()), torch.finfo(reference.dtype).tiny),
            }
        )
    return results
