# SPDX-License-Identifier: Apache-2.0
"""The scans that other projects' projectors take, in the form in which they take them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators.backends.rays import AlignedScan
from monai_iscs.operators.geometry import ConeBeamGeometry
from monai_iscs.operators.helix import EXACT, Helix
from monai_iscs.operators.pixels import pixel_size
from monai_iscs.operators.rtk_parameters import rtk_parameters

CUBES = 1e-5  # relative difference of a voxel's edges
MAX_VIEWS = 4096  # that torch-radon's backprojection holds in shared memory


@dataclass(frozen=True)
class FlatScan(AlignedScan):
    """ASTRA's form: source, detector and steps of each view."""

    @classmethod
    def of(cls, geometry: ConeBeamGeometry, grid: Grid) -> FlatScan:
        """Any path of the source, and flat detectors at any place and tilt.

        Raises:
            InputError: a curved detector.
        """
        geometry.check_flat("ASTRA")
        scan = AlignedScan.of(geometry, grid)
        return cls(scan.geometry, scan.grid)


@dataclass(frozen=True)
class PixelScan(AlignedScan):
    """diffct's form: source, detector and unit steps of each view, and one size of the pixels.

    Attributes:
        pitch: pixel size (along v, along u), mm.
    """

    pitch: tuple[float, float]

    @classmethod
    def of(cls, geometry: ConeBeamGeometry, grid: Grid) -> PixelScan:
        """Any path of the source, and flat detectors at any place and tilt.

        Raises:
            InputError: a curved detector, or pixels that are no rectangles or have another size in some view.
        """
        scan = AlignedScan.of(geometry, grid)
        return cls(scan.geometry, scan.grid, pixel_size(scan.geometry, user="diffct"))


@dataclass(frozen=True)
class RTKScan(AlignedScan):
    """RTK's form: nine parameters a view, with the isocentre in the middle of the grid.

    Attributes:
        parameters: see `rtk_parameters`.
        pitch: pixel size (along v, along u), mm; negative along v where rows fall.
    """

    parameters: dict[str, np.ndarray]
    pitch: tuple[float, float]

    @classmethod
    def of(cls, geometry: ConeBeamGeometry, grid: Grid) -> RTKScan:
        """Any path of the source, and flat detectors at any place and tilt.

        Raises:
            InputError: what `rtk_parameters` refuses.
        """
        scan = AlignedScan.of(geometry, grid)
        around = scan.geometry.moved(-np.asarray(scan.grid.center))
        return cls(scan.geometry, scan.grid, *rtk_parameters(around))


@dataclass(frozen=True)
class HelixScan(AlignedScan):
    """torch-radon's form: a circle or a helix.

    Attributes:
        helix: the path of the views.
    """

    helix: Helix

    @classmethod
    def of(cls, geometry: ConeBeamGeometry, grid: Grid) -> HelixScan:
        """A circle, an arc or an even helix, whose detector's centre faces the axis.

        Raises:
            InputError: a curved detector, another path, an offset of the detector, rows that fall, voxels that are no
                cubes, or more than 4,096 views.
        """
        geometry.check_flat("torch-radon")
        scan = AlignedScan.of(geometry, grid)
        if scan.geometry.views > MAX_VIEWS:
            raise InputError(f"geometry: found {scan.geometry.views} views, expected up to {MAX_VIEWS}")
        if not np.allclose(scan.grid.spacing, scan.grid.spacing[0], rtol=CUBES):
            raise InputError(f"grid: found voxels of {scan.grid.spacing} mm, expected cubes")
        helix = Helix.of(scan.geometry, scan.grid.center)
        if np.abs(helix.detector_offset).max() > EXACT * helix.source_to_detector:
            found = tuple(round(mm, 3) for mm in helix.detector_offset)
            raise InputError(f"geometry: found a detector offset (v, u) of {found} mm in all views, expected none")
        return cls(scan.geometry, scan.grid, helix)
