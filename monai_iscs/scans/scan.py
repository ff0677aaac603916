# SPDX-License-Identifier: Apache-2.0
"""The simulated scanner: from a volume, or from its measurement, to the operator of its scan."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing

from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector, LinearOperator
from monai_iscs.scans.meta import image_name

MOST_TRUNCATED = 0.01  # share of a view's attenuation that may miss the detector
AIR = 0.00208  # per mm, at about -900 HU: what attenuates less is worth no detector


class Scan(ABC):
    """Makes the operator of a scan, for a volume that is to be measured or for its measurement."""

    @abstractmethod
    def __call__(self, image: torch.Tensor) -> LinearOperator:
        """The operator on (X, Y, Z) for a volume ([B,] C, X, Y, Z), or for a measurement ([B,] C, *range_shape)."""

    def check_field(self, volume: torch.Tensor) -> None:  # noqa: B027
        """Raise an `InputError` if the scanner cannot see all of `volume` (C, X, Y, Z); by default it can."""

    def measurement_affine(self, volume: MetaTensor) -> torch.Tensor:
        """Affine of the measurement of `volume`: the volume's own where the measurement is no image."""
        return affine_of(volume)

    def volume_affine(self, measurement: MetaTensor) -> torch.Tensor:
        """Affine of the volume behind `measurement`; undoes `measurement_affine`."""
        return affine_of(measurement)


def volume_shape(image: torch.Tensor) -> tuple[int, ...]:
    """(X, Y, Z) of a volume ([B,] C, X, Y, Z), or of the volume behind a simulated measurement, from its meta.

    A `DataLoader` collates the meta's shape to one tensor per axis.

    Raises:
        InputError: a batch of different volumes.
    """
    shape = image.meta.get("volume_shape") if isinstance(image, MetaTensor) else None
    if shape is None:
        return tuple(image.shape[-3:])
    axes = [torch.as_tensor(n).flatten() for n in shape]
    if any(bool((n != n[0]).any()) for n in axes):
        raise InputError("measurement: the batch mixes volumes of different shapes, expected one shape")
    return tuple(int(n[0]) for n in axes)


def affine_of(image: torch.Tensor) -> torch.Tensor:
    """(4, 4) affine of an image, of the first one of a batch."""
    if not isinstance(image, MetaTensor):
        raise InputError(f"{image_name(image)}: has no affine, expected a MetaTensor with its voxel size in mm")
    return image.affine if image.affine.ndim == 2 else image.affine[0]


class ConeBeamScan(Scan):
    """Cone-beam scan of the paper (source to isocentre 700 mm, to detector 1,200 mm) fitted to a volume's grid.

    Args:
        views: number of views.
        arc: degrees that they cover; a partial arc includes its first angle, not its last.
        unit_attenuation: attenuation of one prior unit, per mm. For CT the width of its range in HU at 0.02 /mm for
            1,000 HU (water above air): 0.052 for 2,600 HU.
        backend: projector backend, see `ConeBeamProjector`.
    """

    def __init__(
        self, *, views: int = 30, arc: float = 360.0, unit_attenuation: float = 0.052, backend: str = "auto"
    ) -> None:
        if views < 1:
            raise InputError(f"views: found {views}, expected at least 1")
        if not 0 < arc <= 360:
            raise InputError(f"arc: found {arc:g} degrees, expected more than 0 and at most 360")
        if not unit_attenuation > 0:
            raise InputError(f"unit_attenuation: found {unit_attenuation:g} /mm, expected a positive number")
        self.views = views
        self.arc = arc
        self.unit_attenuation = unit_attenuation
        self.backend = backend

    def geometry(self, image: torch.Tensor) -> ConeBeamGeometry:
        """Geometry for `image`: a volume ([B,] C, X, Y, Z), or a measurement made by `SimulateMeasurement`.

        Raises:
            InputError: if `image` is no `MetaTensor`, whose affine gives the voxel size in mm.
        """
        return ConeBeamGeometry.paper(
            volume_shape=volume_shape(image),
            voxel_spacing=tuple(float(s) for s in affine_to_spacing(affine_of(image))),
            views=self.views,
            arc=self.arc,
        )

    def __call__(self, image: torch.Tensor) -> LinearOperator:
        """The operator from (X, Y, Z) in prior units to dimensionless line integrals (view, v, u) for `image`."""
        return self.unit_attenuation * ConeBeamProjector(self.geometry(image), backend=self.backend)

    def check_field(self, volume: torch.Tensor) -> None:
        """Raise an `InputError` if more of `volume` (C, X, Y, Z) than a trace of it projects beside the detector."""
        geometry = self.geometry(volume)
        share = geometry.truncated_fraction(volume.as_tensor()[0], air=AIR / self.unit_attenuation)
        if share > MOST_TRUNCATED:
            magnification = geometry.source_to_detector / geometry.source_to_isocenter
            rows, columns = (
                n * pitch / magnification
                for n, pitch in zip(geometry.detector_shape, geometry.detector_pitch, strict=True)
            )
            size = " x ".join(
                f"{n * s:.0f}" for n, s in zip(geometry.volume_shape, geometry.voxel_spacing, strict=True)
            )
            raise InputError(
                f"{image_name(volume)}: {share:.1%} of the body's attenuation ({size} mm volume) projects outside the "
                f"detector, whose field at the isocentre is {columns:.0f} mm wide and {rows:.0f} mm high; expected at "
                f"most {MOST_TRUNCATED:.0%}: crop the volume"
            )
