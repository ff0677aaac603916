# SPDX-License-Identifier: Apache-2.0
"""Conversion between measurements or projections and MONAI's `MetaTensor`s; the only place that knows both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from monai.data import MetaTensor

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.scans.description import describable
from monai_iscs.scans.measured import Region
from monai_iscs.scans.measurement import Measurement
from monai_iscs.scans.projections import Projections
from monai_iscs.scans.weights import packed, unpacked

# The entry of a measurement's meta with all but its data, as text: MONAI's batches keep texts unchanged.
SCAN = "scan"
PROJECTIONS = "projections"  # likewise, of projections
REGION = "region"  # likewise, the wanted part of a measurement's grid


def image_name(image: torch.Tensor, default: str = "image") -> str:
    """The file that an image was read from, for messages."""
    meta = image.meta if isinstance(image, MetaTensor) else {}
    return str(meta.get("filename_or_obj", default))


@contextmanager
def naming(image: torch.Tensor) -> Iterator[None]:
    """Put the file's name in front of errors about an image."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{image_name(image)}: {error}") from error


def grid_of(image: torch.Tensor) -> Grid:
    """The grid of an image (C, X, Y, Z).

    Raises:
        InputError: not a `MetaTensor`, or an affine that cannot be inverted.
    """
    if not isinstance(image, MetaTensor):
        raise InputError(f"{image_name(image)}: found no affine, expected a MetaTensor with its voxel size in mm")
    with naming(image):
        return Grid(tuple(image.shape[1:]), image.affine.double().cpu().numpy())


def to_meta_tensor(
    measurement: Measurement,
    *,
    like: torch.Tensor | None = None,
    affine: np.ndarray | None = None,
    region: Region | None = None,
) -> MetaTensor:
    """A measurement as a `MetaTensor` for MONAI's pipelines.

    Args:
        measurement: the measurement. An operator that has no description (`describe_operator`) is left out: it must be
            given again where the measurement is used.
        like: the image that it was made from: meta such as the file's name, affine and history are copied.
        affine: (4, 4), of the data as an image; None: that of `like`.
        region: the part of the grid that is wanted; None: all.

    Returns:
        The data (C, ...) with `meta["scan"]`, from which `from_meta_tensor` restores the measurement.
    """
    result = MetaTensor(measurement.data)
    if isinstance(like, MetaTensor):
        result.copy_meta_from(like)
    if affine is not None:
        result.affine = torch.as_tensor(np.asarray(affine))
    for entry in (SCAN, PROJECTIONS, REGION):
        result.meta.pop(entry, None)
    if describable(measurement.operator):
        result.meta[SCAN] = measurement.description()
    if region is not None:
        result.meta[REGION] = json.dumps(region)
    return result


def region_of(tensor: torch.Tensor) -> Region | None:
    """The part of its grid that is wanted of a measurement: (start, stop) in voxels along each axis; None: all."""
    text = tensor.meta.get(REGION) if isinstance(tensor, MetaTensor) else None
    return None if text is None else tuple(tuple(ends) for ends in json.loads(text))


def carries_scan(tensor: torch.Tensor) -> bool:
    """Whether `from_meta_tensor` can restore the measurement of a tensor."""
    return isinstance(tensor, MetaTensor) and SCAN in tensor.meta


def from_meta_tensor(tensor: torch.Tensor) -> Measurement:
    """The measurement that `to_meta_tensor` turned into a `MetaTensor`; also of one item of a batch.

    Args:
        tensor: (C, ...).

    Raises:
        InputError: a tensor that is not such a measurement, or a whole batch.
    """
    text = tensor.meta.get(SCAN) if isinstance(tensor, MetaTensor) else None
    if not isinstance(text, str):
        found = "nothing" if text is None else f"those of a batch of {len(text)}"
        raise InputError(
            f'{image_name(tensor, "measurement")}: found {found} in meta["{SCAN}"], expected a measurement (C, ...) of '
            "SimulateMeasurement or TakeAsMeasured"
        )
    with naming(tensor):
        return Measurement.of_description(tensor.as_tensor(), text)


def projections_to_meta_tensor(projections: Projections, *, name: str) -> MetaTensor:
    """Projections as MONAI's pipelines carry them.

    Args:
        projections: what a scanner gave.
        name: of the file that they were read from.

    Returns:
        The line integrals (1, view, v, u), with all the rest in `meta["projections"]`, from which `projections_of`
        makes them again.
    """
    text = {
        "geometry": projections.geometry.as_dict(),
        "position": projections.position,
        "water": projections.water,
        "weights": None if projections.weights is None else packed(projections.weights),
        "notes": projections.notes,
    }
    return MetaTensor(projections.data[None], meta={"filename_or_obj": name, PROJECTIONS: json.dumps(text)})


def projections_of(tensor: torch.Tensor) -> Projections:
    """The projections that `LoadProjections` turned into a `MetaTensor`; one item of a batch, too.

    Args:
        tensor: (1, view, v, u).

    Raises:
        InputError: a tensor that is none of these, a whole batch, or one whose shape was changed.
    """
    text = tensor.meta.get(PROJECTIONS) if isinstance(tensor, MetaTensor) else None
    if not isinstance(text, str) or tensor.ndim != 4 or len(tensor) != 1:
        found = "nothing" if text is None else f"a tensor {tuple(tensor.shape)}"
        raise InputError(
            f'{image_name(tensor, "projections")}: found {found} with meta["{PROJECTIONS}"], expected projections '
            "(1, view, v, u) of LoadProjections"
        )
    with naming(tensor):
        try:
            values = json.loads(text)
            geometry, weights = values["geometry"], unpacked(values["weights"], tensor.shape[1:])
            position, water, notes = values["position"], values["water"], tuple(values["notes"])
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f'meta["{PROJECTIONS}"]: found {text!r:.40}, expected its text ({error!r:.60})') from None
        return Projections(
            data=tensor.as_tensor()[0],
            geometry=ConeBeamGeometry.from_dict(geometry),
            weights=weights,
            position=position,
            water=water,
            notes=notes,
        )
