# SPDX-License-Identifier: Apache-2.0
"""Published checkpoints of ISCS, TPDM, DiffusionMBIR (NCSN++), DDS and DiffusionBlend (guided diffusion)."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from monai_iscs.errors import InputError
from monai_iscs.priors.denoisers import (
    Denoiser,
    EpsilonDenoiser,
    LabelledDenoiser,
    ScoreDenoiser,
    linear_alphas_cumprod,
)
from monai_iscs.priors.layouts import GuidedDiffusionLayout, NCSNppLayout, as_ours
from monai_iscs.priors.ncsnpp import NCSNpp
from monai_iscs.priors.orientation import DisplayOriented

ORIENTATIONS = ("display", "array")
# DiffusionBlend++ was trained on slices of 1 mm: neighbours have label 1, slices 3 mm apart have label 3
DISTANCES = {1: 1.0, 3: 3.0}
_LAYOUTS = (NCSNppLayout, GuidedDiffusionLayout)
# The learning rate in the published files is a NumPy number, plain data under the names of NumPy 1 and 2.
_SCALAR = np.float64(0).__reduce__()[0]
_PLAIN_DATA = [
    np.dtype,
    type(np.dtype(np.float64)),
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
]


@dataclass(frozen=True)
class PublishedPrior:
    """The content of a published checkpoint.

    Attributes:
        definition: the denoiser as a MONAI bundle's ``network_def``.
        channels: of a slice.
        slices: how many it takes at a time; 3: it is for `Triplets`.
        averaged: whether the weights are the moving average of the training (EMA) or its last ones.
        denoiser: ready to use, in evaluation mode.
    """

    definition: dict[str, Any]
    channels: int
    slices: int
    averaged: bool
    denoiser: Denoiser


def load_published_prior(path: str | os.PathLike[str], *, orientation: str = "display") -> PublishedPrior:
    """Loads a checkpoint in the format of its authors.

    NCSN++ (``.pth`` of ISCS, TPDM, DiffusionMBIR): the averaged weights, if the file has them. Guided diffusion
    (``AAPM256_1M.pt`` of DDS): trained on 1000 steps of the linear schedule, with unscaled images in [0, 1]. The same
    with classes (DiffusionBlend++): three slices in [-1, 1] as channels, told by `DISTANCES` how far apart. The
    configuration is read from the weights, which must be complete. Nothing in the file can run code.

    Args:
        path: the file.
        orientation: of slices in the training, "display" (rows to the back or down, columns to the left, as in viewers
            and DICOM files) or "array" (as slices of a RAS volume in memory); see `DisplayOriented`.

    Raises:
        InputError: the file is missing or damaged, has code or another network, or lacks weights.
    """
    if orientation not in ORIENTATIONS:
        raise InputError(f"orientation: found {orientation!r}, expected one of {', '.join(ORIENTATIONS)}")
    path = Path(path)
    weights, average = _split(_read(path), path)
    layout = next((layout for layout in _LAYOUTS if layout.fits(weights)), None)
    if layout is None:
        found = ", ".join(list(weights)[:3]) or "nothing"
        raise InputError(f"{path}: found {found}, expected the weights of NCSN++ or of guided diffusion's U-Net")
    try:
        settings = layout.settings(weights)
        network = layout.network(**settings)
        network.load_state_dict(_ours(layout, network, weights, average))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except RuntimeError as error:
        said = " ".join(str(error).split())[:300]
        raise InputError(f"{path}: found weights that do not fit ({said}), expected those of one network") from error
    except LookupError as error:
        raise InputError(f"{path}: found no weight {error}, expected it to give the network's shape") from error
    denoiser, definition = _denoiser(network, settings, orientation)
    classes = settings.get("classes", 0)
    slices = 3 if classes else 1
    if classes and (settings["in_channels"] % slices or max(DISTANCES) >= classes):
        raise InputError(
            f"{path}: found a network of {settings['in_channels']} channels and {classes} classes, "
            "expected three slices and the classes of DiffusionBlend"
        )
    return PublishedPrior(definition, settings["in_channels"] // slices, slices, average is not None, denoiser.eval())


def _read(path: Path) -> Any:
    """The file's content: tensors and plain data only."""
    if not path.is_file():
        raise InputError(f"{path}: found no such file, expected a checkpoint")
    try:
        with torch.serialization.safe_globals(_PLAIN_DATA):
            # memory-mapped if the format allows it: half of such a file is the optimiser's state
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:
        code = re.search(r"GLOBAL (\S+)", str(error))
        if code is not None:
            raise InputError(
                f"{path}: found {code[1]}, expected tensors and plain data only, as other things could run code"
            ) from error
        raise InputError(f"{path}: found a damaged file or one of another kind, expected a checkpoint") from error


def _split(content: Any, path: Path) -> tuple[dict[str, Tensor], list[Tensor] | None]:
    """The named weights without prefixes, and the list of averaged ones if there is one."""
    average = None
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        ema = content.get("ema")
        if ema is not None:
            average = ema.get("shadow_params") if isinstance(ema, Mapping) else None
            if not isinstance(average, list) or not all(isinstance(value, Tensor) for value in average):
                raise InputError(f"{path}: found an 'ema' without 'shadow_params', expected a list of tensors there")
        content = content["model"]
    elif isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(
            f"{path}: found other things than tensors, expected them by name, or under the name 'model' or 'state_dict'"
        )
    return {name.removeprefix("module."): value for name, value in content.items()}, average


def _ours(
    layout: type[NCSNppLayout | GuidedDiffusionLayout],
    network: nn.Module,
    weights: Mapping[str, Tensor],
    average: list[Tensor] | None,
) -> dict[str, Tensor]:
    """The weights under this package's names; the averaged ones if there is an average."""
    entries = list(layout.entries(network))
    expected, found = {entry.theirs for entry in entries}, set(weights) - layout.ignored
    if expected != found:
        lacking, unknown = sorted(expected - found), sorted(found - expected)
        raise InputError(
            f"found {len(lacking)} weights missing and {len(unknown)} unknown, such as {(lacking + unknown)[0]}, "
            "expected those of one network"
        )
    if average is not None:
        trained = [entry.theirs for entry in entries if entry.trained]
        if [value.shape for value in average] != [weights[name].shape for name in trained]:
            raise InputError(
                f"found {len(average)} averaged weights (EMA) of other shapes, expected those of the {len(trained)} "
                "trained ones"
            )
        weights = {**weights, **dict(zip(trained, average, strict=True))}
    for entry in entries:
        if not weights[entry.theirs].isfinite().all():
            raise InputError(f"found NaN or infinite values in its weight {entry.theirs}, expected finite ones")
    pieces: dict[str, list[Tensor]] = {}
    for entry in entries:
        pieces.setdefault(entry.ours, []).append(as_ours(entry, weights[entry.theirs]))
    return {name: torch.cat(values) if len(values) > 1 else values[0] for name, values in pieces.items()}


def _denoiser(network: nn.Module, settings: Mapping[str, Any], orientation: str) -> tuple[Denoiser, dict[str, Any]]:
    """The network as a denoiser, and the same as a bundle's ``network_def``."""

    def definition(part: Any, **arguments: Any) -> dict[str, Any]:
        return {"_target_": f"monai_iscs.priors.{part.__name__}", **arguments}

    inner, definition_of_inner = network, definition(type(network), **settings)
    if orientation == "display":
        inner, definition_of_inner = DisplayOriented(inner), definition(DisplayOriented, network=definition_of_inner)
    if isinstance(network, NCSNpp):
        return ScoreDenoiser(inner), definition(ScoreDenoiser, network=definition_of_inner)
    kind, values = EpsilonDenoiser, {}
    if settings["classes"]:
        kind, values = LabelledDenoiser, {"offset": -1.0, "scale": 2.0, "labels": DISTANCES}
    schedule = definition(linear_alphas_cumprod)
    return (
        kind(inner, alphas_cumprod=linear_alphas_cumprod(), **values),
        definition(kind, network=definition_of_inner, alphas_cumprod=schedule, **values),
    )
