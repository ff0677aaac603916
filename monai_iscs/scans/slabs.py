# SPDX-License-Identifier: Apache-2.0
"""A long helix in slabs along z, each of which needs a part of the views only."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.operators.circle import LEVEL, off_circle
from monai_iscs.scans.field_of_view import field_of_view, ray_heights
from monai_iscs.scans.measured import MeasuredScan, Region, grown
from monai_iscs.scans.projections import Projections
from monai_iscs.scans.rectify import upright

BUDGET = 4e9  # bytes that a reconstruction may take before it goes on in slabs: the same on all machines
BYTES_A_RAY, BYTES_A_VOXEL = 32, 48  # of a run: y, A x and six more, and twelve volumes of float32
BASE = 1.3e9  # bytes of the program, of the network's layers, and of the noise level's estimate


@dataclass(frozen=True, eq=False)
class Slab:
    """A part of a long volume, which is reconstructed on its own.

    Attributes:
        views: indices of the views whose rays meet it.
        grid: of its slices, on the lattice of the whole; as wide as all that rays meet.
        slices: (start, stop) of them in the whole volume.
        weights: of its slices where slabs overlap, (stop - start,): those of all slabs add up to 1.
        own: (lowest, highest) z, mm, of the part that is no other slab's.
    """

    views: np.ndarray
    grid: Grid
    slices: tuple[int, int]
    weights: np.ndarray
    own: tuple[float, float]


@dataclass(frozen=True, eq=False)
class SlabPlan:
    """A long volume and its slabs.

    Attributes:
        stack: the grid of all that the rays meet which meet the volume: that of the noise.
        region: the wanted volume in it: (start, stop) in voxels along each axis.
        slabs: in the order of the views that see them.
        overlap: slices that two slabs share.
    """

    stack: Grid
    region: Region
    slabs: tuple[Slab, ...]
    overlap: int

    @property
    def wanted(self) -> Grid:
        """The grid of the wanted volume."""
        return self.stack.part(self.region)


def is_long(geometry: ConeBeamGeometry) -> bool:
    """Whether views see different parts of z, so that slabs need different ones: a helix, with upright detectors."""
    return geometry.is_upright and off_circle(geometry, (0.0, 0.0)) is not None


def plan_slabs(geometry: ConeBeamGeometry, survey: Projections, scan: MeasuredScan) -> SlabPlan | None:
    """Divide a wanted volume along z into slabs of `scan.slab` mm, or so that no part needs more than `BUDGET`.

    Neighbours overlap by half the height of the detector at the axis: the rays through a slab's last slices go on to
    where it is known badly, because the views that see that best are no views of the slab.

    Args:
        geometry: of all views, in the patient's frame; see `is_long`.
        survey: some of these views, from the first to the last.
        scan: what is wanted.

    Returns:
        None if a slab is as long as the volume.

    Raises:
        InputError: slabs that are too short, or that no view sees.
    """
    field = field_of_view(upright(survey.in_patient()))
    wanted = scan.wanted(field)
    wide, _ = grown(wanted, field)
    low, high = ray_heights(geometry, max(np.multiply(wide.shape, wide.spacing)[:2]) / 2)
    slices, step = wanted.shape[2], wanted.spacing[2]
    bottom = wanted.center[2] - slices * step / 2

    def meeting(start: int, stop: int) -> np.ndarray:
        return np.flatnonzero((high > bottom + start * step) & (low < bottom + stop * step))

    def needed(start: int, stop: int) -> float:
        views = meeting(start, stop)
        height = high[views].max(initial=bottom) - low[views].min(initial=bottom)
        rays, voxels = len(views) * math.prod(geometry.detector_shape), math.prod(wide.shape[:2]) * height / step
        return BASE + BYTES_A_RAY * rays + BYTES_A_VOXEL * voxels

    rows = float(np.median(np.subtract(*reversed(ray_heights(geometry, 0.0)))))
    radius = float(np.linalg.norm(geometry.source[:, :2] - field.axis, axis=1).mean())
    overlap = math.ceil(rows / 2 / step)
    least = math.ceil(max(rows / 2, LEVEL * radius) / step)  # a shorter part of a helix would pass for a circle
    most = max(slices // least, 1)
    if scan.slab is None:
        fitting = (n for n in range(1, most) if max(needed(*ends) for ends in _ends(slices, n, overlap)) <= BUDGET)
        count = next(fitting, most)
    else:
        count = math.ceil(slices * step / scan.slab)
        if count > most:
            raise InputError(f"slab: found {scan.slab:g} mm, expected at least {least * step:g} mm of this helix")
    if count == 1:
        return None
    for start, stop in _ends(slices, count, overlap):
        if not len(meeting(start, stop)):
            ends = f"{bottom + start * step:.0f} to {bottom + stop * step:.0f} mm"
            raise InputError(f"shape, center: found slices from {ends} that no view sees, expected fewer")
    seen = meeting(0, slices)
    heights = (float(low[seen].min()) - step, float(high[seen].max()) + step)  # a slice more for rounding
    stack, region = grown(wanted, replace(field, met_heights=heights))
    edges = [bottom + edge * step for edge in _edges(slices, count)]
    own = list(zip([-math.inf, *edges[1:-1]], [*edges[1:-1], math.inf], strict=True))
    slabs = [
        Slab(
            views=meeting(*ends),
            grid=stack.part([*((0, n) for n in stack.shape[:2]), [region[2][0] + end for end in ends]]),
            slices=ends,
            weights=_weights(ends, slices, overlap),
            own=own[index],
        )
        for index, ends in enumerate(_ends(slices, count, overlap))
    ]
    if geometry.source[-1, 2] < geometry.source[0, 2]:
        slabs.reverse()
    return SlabPlan(stack=stack, region=region, slabs=tuple(slabs), overlap=overlap)


def _edges(slices: int, count: int) -> list[int]:
    """Where each of some slabs of equal length begins, and the end."""
    return np.linspace(0, slices, count + 1).round().astype(int).tolist()


def _ends(slices: int, count: int, overlap: int) -> list[tuple[int, int]]:
    """(start, stop) of slabs that overlap."""
    edges, below = _edges(slices, count), overlap // 2
    ends = itertools.pairwise(edges)
    return [(max(start - below, 0), min(stop + overlap - below, slices)) for start, stop in ends]


def _weights(ends: tuple[int, int], slices: int, overlap: int) -> np.ndarray:
    """sin² from the first to the last shared slice, so that those of two neighbours add up to 1."""
    weights = np.ones(ends[1] - ends[0], np.float32)
    ramp = np.sin((np.arange(overlap) + 0.5) / overlap * np.pi / 2) ** 2
    if ends[0] > 0:
        weights[:overlap] = ramp
    if ends[1] < slices:
        weights[-overlap:] = ramp[::-1]
    return weights
