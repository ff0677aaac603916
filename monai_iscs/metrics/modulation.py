# SPDX-License-Identifier: Apache-2.0
"""The modulation transfer function (MTF) from the edges of known spheres."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.integrate import trapezoid
from scipy.interpolate import make_smoothing_spline
from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.metrics.patches import pair
from monai_iscs.transforms.lesions import Lesion, distances, filled_share

REACH = 6.0  # mm on either side of the edge: a blur of 2 mm (standard deviation) is right within 6 %
FREQUENCIES = 64  # from 0 to the Nyquist frequency
FAINTEST = 0.1  # share of an edge's contrast: of less, the shape is that of the noise
SAMPLES = 400  # of the edge's derivative: it is integrated well below the length of a pixel


def modulation_transfer(
    reconstruction: Tensor, reference: Tensor, spheres: Sequence[Lesion], spacing: Sequence[float]
) -> dict[str, Any]:
    """MTF in the axial plane, at the edges of spheres with a high contrast, such as bone.

    Nonlinear methods have no MTF but that of a task: objects are put into the volume before it is measured. The edge
    spread function ESF(d) is the reconstruction minus the truth without the spheres, over their contrast, against the
    distance d from the surface, within 6 mm, in the slices that meet the surface at less than 30 degrees from its
    normal: a smoothing spline through the voxels of all spheres. With the same spline of the spheres' own voxels,

        LSF(f) = |integral of ESF'(d) exp(-2 pi i f d) dd|
        MTF(f) = (LSF(f) / LSF(0)) / (LSF_true(f) / LSF_true(0))

    so that pixels, slices and the spline lose nothing. The patient's bones are not used, as their edges are blurred in
    the truth itself. After Richard et al., Med Phys 39 (2012) 4115 ("task transfer function").

    Args:
        reconstruction: (X, Y, Z).
        reference: the truth with the spheres, (X, Y, Z).
        spheres: those in the reference, of at least 12 mm; contrasts in the volumes' units.
        spacing: voxel size along x, y, z in mm.

    Returns:
        `{"frequency", "mtf", "mtf50", "kept"}`: 1/mm up to the Nyquist frequency, MTF(f), the lowest frequency where it
        is a half in 1/mm (the Nyquist frequency if there is none; None for an edge that is not there), and the
        reconstruction's contrast between the two sides of the edge over the true one.

    Raises:
        InputError: different shapes, no spheres, spheres that are too small, or too near to the border.
    """
    reconstruction, reference = pair(reconstruction, reference)
    if not spheres or min(sphere.diameter for sphere in spheres) < 2 * REACH:
        found = ", ".join(f"{sphere.diameter:g} mm" for sphere in spheres) or "none"
        raise InputError(f"spheres: found {found}, expected some of at least {2 * REACH:g} mm")
    shape, samples = tuple(reference.shape), []
    for sphere in spheres:
        if any(
            not sphere.diameter / 2 <= c <= (n - 1) * s - sphere.diameter / 2
            for c, n, s in zip(sphere.centre, shape, spacing, strict=True)
        ):
            raise InputError(
                f"spheres: found one of {sphere.diameter:g} mm at {sphere.centre} mm that reaches out of the volume, "
                "expected all inside"
            )
        beyond = distances(shape, spacing, sphere.centre) - sphere.diameter / 2
        height = (beyond.new_tensor(range(shape[2])) * spacing[2] - sphere.centre[2]).abs()
        near = (beyond.abs() <= REACH) & (height <= sphere.diameter / 4)
        share = filled_share(shape, spacing, sphere)[near]
        error = (reconstruction - reference)[near.to(reference.device)].cpu() / sphere.contrast
        samples.append(np.stack([beyond[near].numpy(), error.numpy() + share.numpy(), share.numpy()]))
    d, found, true = np.concatenate(samples, 1)
    step = min(spacing[:2])
    frequency = np.linspace(0, 0.5 / step, FREQUENCIES)
    edges = [_edge(d, values, step, frequency) for values in (found, true)]
    (contrast, spectrum), (true_contrast, true_spectrum) = edges
    mtf = spectrum / true_spectrum
    kept, half = contrast / true_contrast, frequency[-1]
    if len(low := np.flatnonzero(mtf < 0.5)):
        around = [low[0], low[0] - 1]  # never the first, where the MTF is 1
        half = np.interp(0.5, mtf[around], frequency[around])
    return {
        "frequency": frequency.tolist(),
        "mtf": mtf.tolist(),
        "mtf50": float(half) if kept > FAINTEST else None,
        "kept": kept,
    }


def _edge(d: np.ndarray, values: np.ndarray, step: float, frequency: np.ndarray) -> tuple[float, np.ndarray]:
    """The height of an edge, and the modulus of its derivative's Fourier transform over that at 0."""
    places, which, counts = np.unique(d.round(6), return_inverse=True, return_counts=True)
    means = np.bincount(which, values) / counts
    weight = len(d) / (2 * REACH) * (step / np.pi) ** 4  # half of a wave of the Nyquist frequency remains
    edge = make_smoothing_spline(places, means, counts, lam=weight)
    places = np.linspace(-REACH, REACH, SAMPLES)
    waves = np.exp(-2j * np.pi * frequency[:, None] * places)
    spectrum = np.abs(trapezoid(edge.derivative()(places) * waves, places, axis=1))
    return float(edge(-REACH) - edge(REACH)), spectrum / spectrum[0]
