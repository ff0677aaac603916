# SPDX-License-Identifier: Apache-2.0
"""Real projections in MONAI's pipelines."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from os import PathLike
from typing import Any

from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform

from monai_iscs.scans.meta import projections_to_meta_tensor
from monai_iscs.scans.readers import OpenProjections, Options, open_with


class LoadProjections(Transform):
    """Load projections as `read_projections` does.

    Args:
        **options: the keyword arguments of `read_projections`, such as `geometry`, `flat`, `dark`, `air` and `every`.

    Raises:
        InputError: an option out of range.
    """

    def __init__(self, **options: Any) -> None:
        self.options = Options(**options)

    def __call__(
        self, data: str | PathLike[str] | OpenProjections, *, geometry: str | PathLike[str] | None = None
    ) -> MetaTensor:
        """Read `data`.

        Args:
            data: path of the projections, or some that are open.
            geometry: of these; None: that of the options, or the file's own.

        Returns:
            Line integrals (1, view, v, u), float32, from which `projections_of` makes the `Projections` with their
            geometry, weights, position and notes.

        Raises:
            InputError: as `read_projections` does.
        """
        files = data if isinstance(data, OpenProjections) else self.open(data, geometry=geometry)
        return projections_to_meta_tensor(files.read(), name=str(files.path))

    def open(self, path: str | PathLike[str], *, geometry: str | PathLike[str] | None = None) -> OpenProjections:
        """The projections of a path before their pixels are read: a call with some of their views reads those alone.

        Raises:
            InputError: as `read_projections` does, as far as no pixels are needed for it.
        """
        return open_with(path, self.options if geometry is None else replace(self.options, geometry=geometry))


class LoadProjectionsd(MapTransform):
    """Dictionary version of `LoadProjections`: paths at `keys` become projections.

    Args:
        keys: keys of the paths.
        geometry_key: key of the geometry's file, where an item has it, which overrides the options' own.
        allow_missing_keys: don't raise if a key is missing.
        **options: see `LoadProjections`.

    Raises:
        InputError: an option out of range.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        geometry_key: str = "geometry",
        allow_missing_keys: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.geometry_key = geometry_key
        self.load = LoadProjections(**options)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Load every key; raises as `LoadProjections` does."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.load(result[key], geometry=result.get(self.geometry_key))
        return result


LoadProjectionsD = LoadProjectionsDict = LoadProjectionsd
