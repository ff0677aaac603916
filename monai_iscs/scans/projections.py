# SPDX-License-Identifier: Apache-2.0
"""Projections as a scanner gave them, before anybody has chosen a grid."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry

# Rows: the patient's right, anterior, superior in the scanner's x, y, z. z is the table's long axis, into the gantry;
# x points up; y to the right of somebody who looks into the gantry.
POSITIONS = {
    "HFS": ((0, -1, 0), (1, 0, 0), (0, 0, 1)),
    "HFP": ((0, 1, 0), (-1, 0, 0), (0, 0, 1)),
    "FFS": ((0, 1, 0), (1, 0, 0), (0, 0, -1)),
    "FFP": ((0, -1, 0), (-1, 0, 0), (0, 0, -1)),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Projections:
    """Line integrals and the rays that they belong to.

    Attributes:
        data: dimensionless line integrals (view, v, u), float32, finite.
        geometry: of the views; in the scanner's frame where `position` is given, else in RAS.
        weights: 1 where a pixel was measured, 0 where it was filled in from its neighbours, as `data`; None: all were.
        position: how the patient lies in the scanner, "HFS", "HFP", "FFS" or "FFP" (head or feet first, supine or
            prone); None: the geometry's frame is already the patient's, RAS.
        water: attenuation of water per mm, where the file says it.
        notes: what was mended while reading, one sentence each.

    Raises:
        InputError: data of another shape than the geometry's, not finite or not real, or an unknown position.
    """

    data: Tensor
    geometry: ConeBeamGeometry
    weights: Tensor | None = None
    position: str | None = None
    water: float | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        data = real_tensor(self.data, "projections").as_subclass(torch.Tensor).to(torch.float32)
        expected = self.geometry.projection_shape
        if tuple(data.shape) != expected:
            raise InputError(f"projections: found shape {tuple(data.shape)}, expected the geometry's {expected}")
        if not all(bool(torch.isfinite(view).all()) for view in data):  # all at once takes twice their memory
            raise InputError("projections: found NaN or infinite values, expected finite line integrals")
        if self.weights is not None and tuple(self.weights.shape) != expected:
            raise InputError(f"weights: found shape {tuple(self.weights.shape)}, expected {expected}")
        if self.position is not None and self.position not in POSITIONS:
            raise InputError(f"position: found {self.position!r:.40}, expected {', '.join(POSITIONS)} or None")
        object.__setattr__(self, "data", data)

    def every(self, step: int) -> Projections:
        """Each `step`-th view, from the first one on.

        Raises:
            InputError: a step below 1, or one that leaves a single view of several.
        """
        if isinstance(step, bool) or int(step) != step or step < 1:
            raise InputError(f"every: found {step}, expected a whole number of at least 1")
        if step >= self.geometry.views > 1:
            raise InputError(f"every: found {step} with {self.geometry.views} views, expected fewer than there are")
        chosen = np.arange(0, self.geometry.views, step)
        weights = None if self.weights is None else self.weights[chosen]
        return replace(self, data=self.data[chosen], geometry=self.geometry.chosen(chosen), weights=weights)

    def in_patient(self) -> Projections:
        """The same with its geometry in the patient's frame, RAS."""
        if self.position is None:
            return self
        return replace(self, geometry=in_patient(self.geometry, self.position), position=None)


def in_patient(geometry: ConeBeamGeometry, position: str | None) -> ConeBeamGeometry:
    """A geometry in the patient's frame, RAS; see `Projections.position`."""
    return geometry if position is None else geometry.turned(np.array(POSITIONS[position]))
