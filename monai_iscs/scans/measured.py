# SPDX-License-Identifier: Apache-2.0
"""From projections that a scanner gave to a measurement that a method can use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.memory import available_memory
from monai_iscs.operators import ConeBeamProjector, rays_of_rows
from monai_iscs.operators.vectors import finite_numbers
from monai_iscs.scans.field_of_view import FieldOfView, field_of_view, voxels
from monai_iscs.scans.measurement import Measurement
from monai_iscs.scans.noise_level import noise_of_images
from monai_iscs.scans.projections import Projections
from monai_iscs.scans.rectify import upright
from monai_iscs.scans.unexplained import unexplained_level

Region = tuple[tuple[int, int], ...]  # (start, stop) in voxels along each axis
BYTES_A_VOXEL = 24  # of a run at least: six volumes of float32
WATER = 0.02  # attenuation per mm, where nobody says another
ENOUGH = 2**22  # pixels that tell the noise level
NEGLIGIBLE = 0.25  # voxels that rays may meet beyond a grid


@dataclass(frozen=True)
class Placed:
    """A measurement, and which part of its grid is wanted.

    Attributes:
        measurement: on a grid that holds all that the rays meet.
        region: the wanted part of that grid: (start, stop) in voxels along each axis.
    """

    measurement: Measurement
    region: Region


@dataclass(frozen=True, kw_only=True)
class MeasuredScan:
    """How projections of a real scanner become a measurement.

    Rays also cross what lies outside the wanted volume: the body goes on above and below what the detector sees, and
    beside it where it is wider. A grid that ended there would press all that into the voxels at its border. So the
    measurement's grid reaches over all that the rays meet, and the wanted part is cut out of the result.

    Args:
        spacing: voxel size, mm, one number or three along the patient's R, A, S.
        shape: voxels of the wanted volume; None: what the detector sees of the axis, and its field of view across it.
        center: of the wanted volume, mm in the patient's frame; None: in the middle of what the detector sees.
        unit_attenuation: attenuation of one prior unit per mm if that of water is 0.02: 0.02 times the width of the
            prior's range of HU, by 1,000.
        water: attenuation of water per mm; None: what the projections say, else 0.02.
        wide_enough: whether nothing lies beside the wanted volume, so that the grid grows along its third axis alone.
        slab: length, mm, of the parts in which a long helix is reconstructed, for `plan_slabs`; None: it decides.
            `place` knows no slabs.
        backend: projector backend, see `ConeBeamProjector`.

    Raises:
        InputError: a number out of range.
    """

    spacing: float | Sequence[float]
    shape: Sequence[int] | None = None
    center: Sequence[float] | None = None
    unit_attenuation: float = 0.052
    water: float | None = None
    wide_enough: bool = False
    slab: float | None = None
    backend: str = "auto"

    def __post_init__(self) -> None:
        given = self.spacing if isinstance(self.spacing, Sequence) else [self.spacing] * 3
        object.__setattr__(self, "spacing", finite_numbers("spacing", given, 3, positive=True))
        if self.shape is not None:
            object.__setattr__(self, "shape", finite_numbers("shape", self.shape, 3, whole=True))
        if self.center is not None:
            object.__setattr__(self, "center", finite_numbers("center", self.center, 3))
        if not 0 < self.unit_attenuation < math.inf:
            raise InputError(f"unit_attenuation: found {self.unit_attenuation} /mm, expected a positive number")
        if self.water is not None and not 0 < self.water < math.inf:
            raise InputError(f"water: found {self.water} /mm, expected a positive number")
        if self.slab is not None and not self.slab > 0:
            raise InputError(f"slab: found {self.slab} mm, expected a positive number")

    def place(self, projections: Projections) -> Placed:
        """The measurement on its grid.

        Args:
            projections: as they were read.

        Raises:
            InputError: what `upright` refuses; a wanted volume that no ray meets, or that would hold the source.
        """
        seen = upright(projections.in_patient())
        wanted = self.wanted(field_of_view(seen))
        unit_attenuation = self.unit_attenuation * (self.water or seen.water or WATER) / WATER
        settings = {"noise_of": projections, "wide_enough": self.wide_enough}
        return place_on(wanted, seen, unit_attenuation, self.backend, **settings)

    def wanted(self, field: FieldOfView) -> Grid:
        """The grid of the wanted volume, in the patient's frame, of projections with this field of view."""
        low, high = field.heights
        size = (2 * field.radius, 2 * field.radius, high - low)
        shape = self.shape or tuple(voxels(length, step) for length, step in zip(size, self.spacing, strict=True))
        center = self.center or (*field.axis, (low + high) / 2)
        return Grid.centered(shape, self.spacing, center=center)


def place_on(
    wanted: Grid,
    projections: Projections,
    unit_attenuation: float,
    backend: str,
    *,
    noise_of: Projections,
    wide_enough: bool = False,
) -> Placed:
    """The measurement on a grid that goes on from the wanted one until it holds all that the rays meet.

    Args:
        wanted: what is to be shown; its third axis is the scan's axis of rotation.
        projections: upright, in the same frame.
        unit_attenuation: see `MeasuredScan`.
        backend: see `MeasuredScan`.
        wide_enough: whether nothing lies beside the wanted grid, so that it grows along its third axis alone.
        noise_of: projections whose noise is white from pixel to pixel, to estimate its level from.

    Raises:
        InputError: no ray meets the wanted volume.
    """
    scan, local = projections.geometry, wanted.straight
    half = np.multiply(local.shape, local.spacing) / 2
    within = float(half[:2].max()) if wide_enough else math.inf
    field = field_of_view(replace(projections, geometry=scan.along(wanted)), within=within)
    met_first, met_last = _met(field)
    first, last = local.center - half, local.center + half
    if (np.minimum(last, met_last) <= np.maximum(first, met_first)).any():
        raise InputError(
            f"grid: found a volume from {_point(first)} to {_point(last)} mm, expected it to overlap what the rays "
            f"meet, {_point(met_first)} to {_point(met_last)} mm"
        )
    grid, region = grown(wanted, field, wide_enough=wide_enough)
    shape = grid.shape
    needed, available = BYTES_A_VOXEL * math.prod(shape), available_memory()
    if needed > available:
        raise InputError(
            f"spacing, shape: found {' x '.join(map(str, shape))} voxels for all that the rays meet, which take "
            f"{needed / 1e9:,.1f} GB of memory, expected fewer or larger ones: {available / 1e9:,.1f} GB are free"
        )
    projector = ConeBeamProjector(scan, grid, backend=backend, row_rays=rays_of_rows(scan, grid))
    projector = unit_attenuation * projector
    some = math.ceil(noise_of.data.numel() / ENOUGH)  # it takes 70 bytes a pixel
    level = noise_of_images(noise_of.data[None, ::some], projector.images)
    data, weights = projections.data[None], projections.weights
    measurement = Measurement(data, projector, grid, noise_level=level, weights=weights)
    measurement = measurement.changed(noise_level=max(level, unexplained_level(measurement)))
    return Placed(measurement, region)


def grown(wanted: Grid, field: FieldOfView, *, wide_enough: bool = False) -> tuple[Grid, Region]:
    """A grid that goes on until it holds all that rays meet, and where the wanted one is in it.

    Args:
        wanted: to go on from.
        field: in the frame of `wanted.straight`.
        wide_enough: grow along the third axis alone.
    """
    local = wanted.straight
    half = np.multiply(local.shape, local.spacing) / 2
    met_first, met_last = _met(field)
    gaps = np.stack([local.center - half - met_first, met_last - local.center - half]) / local.spacing
    if wide_enough:
        gaps[:, :2] = 0
    before, after = np.where(gaps > NEGLIGIBLE, np.ceil(gaps), 0).astype(int).tolist()
    affine = np.asarray(wanted.affine).copy()
    affine[:3, 3] -= affine[:3, :3] @ before
    shape = tuple(b + n + a for b, n, a in zip(before, wanted.shape, after, strict=True))
    return Grid(shape, affine), tuple((b, b + n) for b, n in zip(before, wanted.shape, strict=True))


def _met(field: FieldOfView) -> np.ndarray:
    """The lowest and the highest corner of what rays meet, (2, 3), mm."""
    middle = np.array(field.axis)
    ends = zip((-field.met_radius, field.met_radius), field.met_heights, strict=True)
    return np.array([[*(middle + away), height] for away, height in ends])


def _point(mm: np.ndarray) -> str:
    return f"({', '.join(f'{value:.0f}' for value in mm)})"
