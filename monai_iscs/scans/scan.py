# SPDX-License-Identifier: Apache-2.0
"""Simulated scans: from a volume to what a scanner would measure."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import replace

import numpy as np
import torch
from torch import Generator, Tensor

from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector, LinearOperator, rays_of_rows
from monai_iscs.randomness import random_stream
from monai_iscs.scans.fine import Noise, collimated, simulate_finely, slices_beyond
from monai_iscs.scans.measured import place_on
from monai_iscs.scans.measurement import Measurement
from monai_iscs.scans.projections import Projections

MOST_TRUNCATED = 0.01  # share of a view's attenuation that may miss the detector
FEWEST_ROWS, FINEST_ROWS = 16, 8  # rows of a detector; rows in the height of a square pixel
ENDLESS = 10**6  # rows of a detector that misses nothing above and below
AIR = 0.00208  # per mm, at about -900 HU: what attenuates less may miss the detector


def measure(
    operator: LinearOperator,
    volume: Tensor,
    grid: Grid | None = None,
    *,
    noise: Noise | None = None,
    generator: Generator | None = None,
) -> Measurement:
    """y = A x, with noise.

    Args:
        operator: A.
        volume: x, (C, X, Y, Z), real.
        grid: of the volume, see `Measurement`.
        noise: `noise(clean, generator)` on the CPU gives the noisy data; None: none.
        generator: the noise's random numbers, on the CPU; None: those of `random_stream(0, "measurement")`.

    Raises:
        InputError: a volume of another shape, or a complex one.
    """
    volume = real_tensor(volume, "volume").as_subclass(torch.Tensor)
    if volume.ndim != 1 + len(operator.domain_shape):
        raise InputError(f"volume: found shape {tuple(volume.shape)}, expected (C, X, Y, Z)")
    data = torch.stack([operator(channel) for channel in volume])
    if noise is not None:
        generator = random_stream(0, "measurement") if generator is None else generator
        data = noise(data.cpu(), generator).to(data)
    return Measurement(data, operator, grid)


def checked_volume(volume: Tensor, grid: Grid) -> Tensor:
    """A real volume (C, X, Y, Z).

    Raises:
        InputError: a complex one, or one of another shape than the grid's.
    """
    volume = real_tensor(volume, "volume").as_subclass(torch.Tensor)
    if tuple(volume.shape[1:]) != grid.shape:
        raise InputError(f"volume: found shape {tuple(volume.shape)}, expected (C, {', '.join(map(str, grid.shape))})")
    return volume


class Scan(ABC):
    """What a scanner does with a volume on a grid."""

    @abstractmethod
    def operator(self, grid: Grid) -> LinearOperator:
        """From volumes (X, Y, Z) on the grid to their measurements."""

    def check_field(self, volume: Tensor, grid: Grid) -> None:  # noqa: B027
        """Raise an `InputError` if the scanner cannot see all of `volume` (C, X, Y, Z); by default it can."""

    def measurement_affine(self, grid: Grid) -> tuple[tuple[float, ...], ...]:
        """Affine of the data as an image; the volume's own if the data are not images."""
        return grid.affine

    def simulate(
        self, volume: Tensor, grid: Grid, *, noise: Noise | None = None, generator: Generator | None = None
    ) -> Measurement:
        """The simulated measurement of a volume.

        Args:
            volume: (C, X, Y, Z), real.
            grid: of the volume.
            noise: see `measure`.
            generator: see `measure`.

        Raises:
            InputError: a volume of another shape than the grid's, a complex one, or one that the scanner cannot see all
                of.
        """
        volume = checked_volume(volume, grid)
        self.check_field(volume, grid)
        return measure(self.operator(grid), volume, grid, noise=noise, generator=generator)


class ConeBeamScan(Scan):
    """Cone-beam scan of the paper (source to isocentre 700 mm, to detector 1,200 mm) fitted to a volume's grid.

    With `size` the volume is scanned as it is, on its own grid, by 2 × 2 rays a pixel (more where rows are higher than
    slices), and it goes on beyond its first and last slices; what is to be reconstructed is another grid, of `size` ×
    `size` pixels. Without, the volume itself is on the grid of the reconstruction, and scanned by its own projector
    ("same grid"): a measurement that fits too well, for the laboratory.

    With `table_feed` the scan is a helix, as in the clinic: the detector is collimated to the rows that the table moves
    by in a turn (a pitch of 1), and the source travels from half a turn below the volume to half a turn above it.

    Args:
        size: pixels a side of the slices to reconstruct, or None.
        views: number of views; of a helix, in each turn.
        arc: degrees that they cover; a partial arc includes its first angle, not its last. A helix has full turns.
        table_feed: mm that a helix rises in a turn; None: a circle.
        row_spacing: mm from row to row of the detector at the isocentre; None: as from column to column, 1.17 mm for
            slices of 256 × 256. Its height stays about 1,024 mm.
        unit_attenuation: attenuation of one prior unit, per mm. For CT the width of its range in HU at 0.02 /mm for
            1,000 HU (water above air): 0.052 for 2,600 HU.
        backend: projector backend, see `ConeBeamProjector`.
    """

    def __init__(
        self,
        *,
        size: int | None = None,
        views: int = 30,
        arc: float = 360.0,
        table_feed: float | None = None,
        row_spacing: float | None = None,
        unit_attenuation: float = 0.052,
        backend: str = "auto",
    ) -> None:
        if size is not None and size < 1:
            raise InputError(f"size: found {size}, expected at least 1 pixel")
        if views < 1:
            raise InputError(f"views: found {views}, expected at least 1")
        if not 0 < arc <= 360:
            raise InputError(f"arc: found {arc:g} degrees, expected more than 0 and at most 360")
        if table_feed is not None and not 0 < table_feed < math.inf:
            raise InputError(f"table_feed: found {table_feed:g} mm, expected a positive number")
        if table_feed is not None and arc != 360:
            raise InputError(f"arc: found {arc:g} degrees with a table_feed, expected 360: a helix has full turns")
        if row_spacing is not None and not 0 < row_spacing < math.inf:
            raise InputError(f"row_spacing: found {row_spacing:g} mm, expected a positive number")
        if not unit_attenuation > 0:
            raise InputError(f"unit_attenuation: found {unit_attenuation:g} /mm, expected a positive number")
        self.size = size
        self.views = views
        self.arc = arc
        self.table_feed = table_feed
        self.row_spacing = row_spacing
        self.unit_attenuation = unit_attenuation
        self.backend = backend

    @property
    def views_a_turn(self) -> int:
        """How many views a full turn has, or would have."""
        return round(self.views * 360 / self.arc)

    def geometry(self, grid: Grid) -> ConeBeamGeometry:
        """A circle about the grid's centre, or a helix about its third axis."""
        circle = self._with_rows(ConeBeamGeometry.paper(grid, views=self.views, arc=self.arc), grid)
        return circle if self.table_feed is None else self._helix(circle, grid)

    def _helix(self, circle: ConeBeamGeometry, grid: Grid) -> ConeBeamGeometry:
        """The circle's views, in as many turns as the grid's height takes."""
        rows, columns = circle.detector_shape
        apart = circle.resolution(grid)[2] * grid.spacing[2]
        if not apart <= self.table_feed <= rows * apart:
            found = f"table_feed: found {self.table_feed:g} mm, expected {apart:.3g} to {rows * apart:.4g} mm"
            raise InputError(f"{found}, the height at the isocentre of one to all of the detector's rows")
        turns = grid.shape[2] * grid.spacing[2] / self.table_feed + 1
        view = np.arange(math.ceil(turns * self.views))
        rise = (view - view.mean()) * self.table_feed / self.views
        scan = circle.chosen(view % self.views).moved(np.outer(rise, grid.axes[:, 2]))
        return replace(scan, detector_shape=(math.ceil(self.table_feed / apart), columns))

    def _with_rows(self, scan: ConeBeamGeometry, grid: Grid) -> ConeBeamGeometry:
        """The scan with rows as high as `row_spacing` says."""
        if self.row_spacing is None:
            return scan
        rows, columns = scan.detector_shape
        square = scan.resolution(grid)[2] * grid.spacing[2]
        low, high = square / FINEST_ROWS, square * rows / FEWEST_ROWS
        if not low <= self.row_spacing <= high:
            found = f"row_spacing: found {self.row_spacing:g} mm, expected {low:.2g} to {high:.3g} mm"
            raise InputError(f"{found}, for a detector of {columns} columns")
        wider = self.row_spacing / square
        return replace(scan, v=scan.v * wider, detector_shape=(2 * max(1, round(rows / wider / 2)), columns))

    def operator(self, grid: Grid) -> LinearOperator:
        """From (X, Y, Z) in prior units to dimensionless line integrals (view, v, u)."""
        scan = self.geometry(grid)
        rays = rays_of_rows(scan, grid)
        return self.unit_attenuation * ConeBeamProjector(scan, grid, backend=self.backend, row_rays=rays)

    def simulate(
        self, volume: Tensor, grid: Grid, *, noise: Noise | None = None, generator: Generator | None = None
    ) -> Measurement:
        """What the scanner measures of a volume (1, X, Y, Z); see `Scan.simulate`.

        With `size`, the measurement's grid has slices where the volume has them, and as many more beyond both of its
        ends as the rays cross; its data are float32.
        """
        if self.size is None:
            return super().simulate(volume, grid, noise=noise, generator=generator)
        projections, wanted = self.project(volume, grid, noise=noise, generator=generator)
        settings = {"noise_of": projections, "wide_enough": True}
        return place_on(wanted, projections, self.unit_attenuation, self.backend, **settings).measurement

    def project(
        self, volume: Tensor, grid: Grid, *, noise: Noise | None = None, generator: Generator | None = None
    ) -> tuple[Projections, Grid]:
        """The projections of a volume (1, X, Y, Z) that is scanned as it is, and the grid that `size` asks for."""
        if self.size is None:
            raise InputError("size: found None, expected the pixels a side of the slices to reconstruct")
        volume = checked_volume(volume, grid)
        if len(volume) != 1:
            raise InputError(f"volume: found {len(volume)} channels, expected 1")
        self.check_field(volume, grid)
        wanted = grid.fitted(self.size)
        scan = self.geometry(wanted)
        scan = collimated(scan, wanted) if self.table_feed is None else scan
        attenuation = self.unit_attenuation * volume[0]
        beyond = slices_beyond(scan, wanted)
        settings = {"beyond": beyond, "backend": self.backend, "noise": noise, "generator": generator}
        return simulate_finely(attenuation, grid, scan, **settings), wanted

    def check_field(self, volume: Tensor, grid: Grid) -> None:
        """Raise an `InputError` if more than a trace of `volume` (C, X, Y, Z) projects outside the detector."""
        geometry = self.geometry(grid)
        seen = geometry
        if self.table_feed is not None:  # one turn tells; what it misses above and below, others see
            seen = replace(geometry.part(0, self.views), detector_shape=(ENDLESS, geometry.detector_shape[1]))
        share = seen.truncated_fraction(volume[0], grid, air=AIR / self.unit_attenuation)
        if share > MOST_TRUNCATED:
            columns_apart, _, rows_apart = (
                step * spacing for step, spacing in zip(geometry.resolution(grid), grid.spacing, strict=True)
            )
            rows, columns = geometry.detector_shape
            size = " x ".join(f"{n * s:.0f}" for n, s in zip(grid.shape, grid.spacing, strict=True))
            raise InputError(
                f"volume: found {share:.1%} of the body's attenuation ({size} mm) outside the detector, whose field at "
                f"the isocentre is {columns * columns_apart:.0f} mm wide and {rows * rows_apart:.0f} mm high; expected "
                f"at most {MOST_TRUNCATED:.0%}: crop the volume"
            )
