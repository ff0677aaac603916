# SPDX-License-Identifier: Apache-2.0
"""Scanning Fourier ring correlation (sFRC): where a reconstruction shows what the truth does not, or misses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.metrics.patches import Patches, pair

SIDE = 42.0  # mm: 64 pixels of 0.66 mm, the patches of the paper's CT
THRESHOLD = 0.5  # of the correlation, as for the paper's CT
SUSPECT = 0.125  # 1/mm: patches that agree on structures of 4 mm (half a period) and more are not suspect
FLAT = 25.0  # HU: standard deviation of the truth; a patch of air or of the truth's own noise has nothing to compare


def agreeing_frequencies(
    reconstruction: Tensor,
    reference: Tensor,
    spacing: Sequence[float],
    *,
    side: float = SIDE,
    threshold: float = THRESHOLD,
    flat: float = FLAT,
) -> Tensor:
    """The spatial frequency up to which each axial patch of a reconstruction agrees with the truth.

    Patches X, Y have no mean and are tapered by a Hann window. On the rings r of their spectra,

        FRC(r) = Re sum_r X Y* / sqrt(sum_r |X|² sum_r |Y|²)

    The result is the lowest frequency where the line through FRC(0) = 1, FRC(1), ... crosses the threshold, and the
    Nyquist frequency where it never does. Source: Kc, Zeng, Soni, Badano, "sFRC for assessing hallucinations in
    medical image restoration", arXiv 2603.04673.

    Args:
        reconstruction: (X, Y, Z), HU.
        reference: the truth, (X, Y, Z), HU.
        spacing: voxel size along x, y, z in mm.
        side: of a patch, mm; each patch begins half a patch after the one before.
        threshold: of the correlation.
        flat: patches in which the truth's standard deviation is smaller are left out.

    Returns:
        (P, Q, Z), 1/mm; NaN for patches that are left out.

    Raises:
        InputError: different shapes, patches that do not fit, or flat ones only.
    """
    reconstruction, reference = pair(reconstruction, reference)
    patches = Patches(side, spacing, reference.shape)
    found = []
    for planes in zip(reconstruction.unbind(2), reference.unbind(2), strict=True):
        images, truths = map(patches.cut, planes)
        used = truths.std((-2, -1)) >= flat
        plane = torch.full(used.shape, float("nan"), dtype=torch.float64)
        if bool(used.any()):
            plane[used] = _crossings(images[used], truths[used], patches, threshold)
        found.append(plane)
    frequencies = torch.stack(found, -1)
    if not bool(frequencies.isfinite().any()):
        raise InputError(
            f"reference: found only patches with a standard deviation below {flat:g} HU, expected some structure"
        )
    return frequencies


def _crossings(images: Tensor, truths: Tensor, patches: Patches, threshold: float) -> Tensor:
    """Where the correlations of patches (N, n, m) cross the threshold, (N,)."""
    window_x, window_y = (torch.hann_window(n, periodic=False, dtype=torch.float64) for n in patches.size)
    x, y = (
        torch.fft.fft2((values - values.mean((-2, -1), keepdim=True)) * window_x[:, None] * window_y)
        for values in (images.double(), truths.double())
    )
    common = patches.ring_sums((x * y.conj()).real)
    power = patches.ring_sums(x.abs().square()) * patches.ring_sums(y.abs().square())
    correlation = common / power.sqrt().clamp_min(torch.finfo(power.dtype).tiny)
    correlation[:, 0] = 1
    frequency = patches.frequencies.double()
    ring = (correlation < threshold).long().argmax(-1)  # 0: nowhere, as ring 0 never is
    after = correlation.gather(-1, ring[:, None])[:, 0]
    before = correlation.gather(-1, (ring - 1).clamp_min(0)[:, None])[:, 0]
    crossing = (ring - (threshold - after) / (before - after).clamp_min(1e-12)) * frequency[1]
    return torch.where(ring == 0, frequency[-1], crossing)


def ring_correlation(
    reconstruction: Tensor,
    reference: Tensor,
    spacing: Sequence[float],
    *,
    suspect: float = SUSPECT,
    side: float = SIDE,
    threshold: float = THRESHOLD,
    flat: float = FLAT,
) -> dict[str, Any]:
    """How many patches are suspect: they agree with the truth on coarse structures only, so detail is false or lost.

    The paper finds the limit for each problem from hallucinations that experts marked: 0.33 /mm for CT
    super-resolution, about a third of the Nyquist frequency for MRI with a threshold of 0.75. Ours is not tuned so: it
    is a size. `below` lets one read the share for any other.

    Args:
        reconstruction: (X, Y, Z), HU.
        reference: the truth, (X, Y, Z), HU.
        spacing: voxel size along x, y, z in mm.
        suspect: patches are suspect that agree up to a lower frequency only, 1/mm; pixels whose Nyquist frequency is
            lower make that the limit.
        side: see `agreeing_frequencies`.
        threshold: see there.
        flat: see there.

    Returns:
        `{"suspect", "median", "limit", "frequency", "below", "patches"}`: the share of suspect patches, the median of
        the patches' frequencies in 1/mm, the limit, the share of patches `below` each `frequency`, and their number.

    Raises:
        InputError: see `agreeing_frequencies`.
    """
    found = agreeing_frequencies(reconstruction, reference, spacing, side=side, threshold=threshold, flat=flat)
    found = found[found.isfinite()]
    frequency = Patches(side, spacing, reference.shape).frequencies.double()
    suspect = min(suspect, float(frequency[-1]))
    return {
        "suspect": float((found < suspect).double().mean()),
        "median": float(found.median()),
        "limit": suspect,
        "frequency": frequency.tolist(),
        "below": [float((found < f).double().mean()) for f in frequency],
        "patches": len(found),
    }
