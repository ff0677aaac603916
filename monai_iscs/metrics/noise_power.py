# SPDX-License-Identifier: Apache-2.0
"""The noise power spectrum (NPS) of a volume's error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.metrics.patches import Patches, pair

SIDE = 32.0  # mm: small enough for soft tissue between bones, 12 rings of 1/32 per mm in pixels of 1.33 mm
TISSUE = (-150.0, 250.0)  # HU: fat to enhanced organs, without bone, lung and gas


def noise_power(
    difference: Tensor,
    reference: Tensor,
    spacing: Sequence[float],
    *,
    tissue: tuple[float, float] = TISSUE,
    side: float = SIDE,
) -> dict[str, Any]:
    """Noise power spectrum of a difference in axial patches of soft tissue.

    With N x M pixels of size a x b, mean-free patches d_p, and frequencies (u, v) in 1/mm,

        NPS(u, v) = a b / (N M) mean_p |DFT(d_p)(u, v)|²       (IEC 62220-1, AAPM TG-233)
        noise² = sum of NPS over all (u, v), divided by (N a)(M b)   (Parseval: the mean variance of the patches)
        mean frequency = integral of f NPS(f) df / integral of NPS(f) df, with the radial mean NPS(f)   (TG-233)

    Of a reconstruction minus the truth it is the spectrum of all errors in soft tissue: noise, streaks and lost detail.
    For the noise alone give the difference of two reconstructions from two scans, divided by the square root of 2.

    Args:
        difference: (X, Y, Z), HU.
        reference: the truth, which says where there is soft tissue, (X, Y, Z), HU.
        spacing: voxel size along x, y, z in mm.
        tissue: patches with all values of the reference in this range are used.
        side: of a patch, mm.

    Returns:
        `{"frequency", "power", "noise", "mean_frequency", "patches"}`: the rings' middles in 1/mm up to the Nyquist
        frequency and the NPS there in HU² mm², the standard deviation in HU, 1/mm, and the number of patches.

    Raises:
        InputError: different shapes, patches that do not fit, or no patch of soft tissue.
    """
    difference, reference = pair(difference, reference, ("difference", "reference"))
    patches = Patches(side, spacing, reference.shape)
    low, high = tissue
    power, count = torch.zeros(patches.size, dtype=torch.float64), 0
    for error, truth in zip(difference.unbind(2), reference.unbind(2), strict=True):
        values = patches.cut(truth)
        inside = (values.amin((-2, -1)) >= low) & (values.amax((-2, -1)) <= high)
        if not bool(inside.any()):
            continue
        used = patches.cut(error)[inside].double()
        used = used - used.mean((-2, -1), keepdim=True)
        power += torch.fft.fft2(used, norm="ortho").abs().square().sum(0)
        count += len(used)
    if not count:
        raise InputError(
            f"reference: found no patch of {side:g} mm with {low:g} to {high:g} HU only, expected at least one"
        )
    power *= patches.pixel / count
    radial = patches.ring_sums(power) / patches.ring_sums(torch.ones_like(power))
    frequency = patches.frequencies.double()
    return {
        "frequency": frequency.tolist(),
        "power": radial.tolist(),
        "noise": float((power.sum() / (power.numel() * patches.pixel)).sqrt()),
        "mean_frequency": float((frequency * radial).sum() / radial.sum()) if bool(radial.any()) else None,
        "patches": count,
    }
