# SPDX-License-Identifier: Apache-2.0
"""The simulated scanner: from a volume, or from its measurement, to the operator of the paper's cone-beam scan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing

from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector, LinearOperator
from monai_iscs.transforms.checks import image_name

MOST_TRUNCATED = 0.01  # share of a view's attenuation that may miss the detector


def _voxels(meta_shape: Sequence[Any]) -> tuple[int, ...]:
    """Volume shape from a measurement's meta, also after a `DataLoader` has collated it (one tensor per axis)."""
    axes = [torch.as_tensor(n).flatten() for n in meta_shape]
    if any(bool((n != n[0]).any()) for n in axes):
        raise InputError("measurement: the batch mixes volumes of different shapes, expected one shape")
    return tuple(int(n[0]) for n in axes)


class ConeBeamScan:
    """Cone-beam scan of the paper (source to isocentre 700 mm, to detector 1,200 mm) fitted to a volume's grid.

    Args:
        views: number of views.
        arc: degrees that they cover; a partial arc includes its first angle, not its last.
        unit_attenuation: attenuation of one prior unit, per mm. For CT 2,600 HU at 0.02 /mm for water: 0.052.
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
        if not isinstance(image, MetaTensor):
            raise InputError(f"{image_name(image)}: has no affine, expected a MetaTensor with its voxel size in mm")
        shape = image.meta.get("volume_shape")
        affine = image.affine if image.affine.ndim == 2 else image.affine[0]
        return ConeBeamGeometry.paper(
            volume_shape=tuple(image.shape[-3:]) if shape is None else _voxels(shape),
            voxel_spacing=tuple(float(s) for s in affine_to_spacing(affine)),
            views=self.views,
            arc=self.arc,
        )

    def __call__(self, image: torch.Tensor) -> LinearOperator:
        """The operator from (X, Y, Z) in prior units to dimensionless line integrals (view, v, u) for `image`."""
        return self.unit_attenuation * ConeBeamProjector(self.geometry(image), backend=self.backend)

    def check_field(self, volume: torch.Tensor) -> None:
        """Raise an `InputError` if more of `volume` (C, X, Y, Z) than a trace of it projects beside the detector."""
        geometry = self.geometry(volume)
        share = geometry.truncated_fraction(volume.as_tensor()[0])
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
