# SPDX-License-Identifier: Apache-2.0
"""Loading a network's weights, and refusing bad ones."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from monai_iscs.errors import InputError
from monai_iscs.files import damaged_part


def load_weights(network: nn.Module, path: str | os.PathLike[str], *, copies: int | None = None) -> None:
    """Loads weights that were saved by ``torch.save(network.state_dict(), path)``, of any precision.

    PyTorch doesn't verify the checksums of its files; this does.

    Args:
        network: gets the weights.
        path: the file.
        copies: of weights for single slices, into a network that takes and returns so many slices and may take further
            channels after them, see `widened`; None: the weights are the network's own.

    Raises:
        InputError: the file is missing, damaged or for another network, or a weight is complex, an integer, or not
            finite.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: found no such file, expected trained weights")
    try:
        if zipfile.is_zipfile(path) and (part := damaged_part(Path(path))) is not None:
            raise InputError(f"{path}: found a wrong checksum of its part {part}, expected undamaged weights")
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path}: found a damaged file or one of another kind, expected weights") from error
    if copies is not None and isinstance(weights, Mapping):
        weights = widened(weights, network.state_dict(), copies)
    if isinstance(weights, Mapping):
        _check(weights, network.state_dict(), path)
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        detail = str(error).strip().splitlines()[-1].strip()
        raise InputError(f"{path}: found weights that do not fit ({detail[:200]}), expected the network's") from error


def widened(weights: Mapping[str, object], own: Mapping[str, torch.Tensor], copies: int) -> dict[str, object]:
    """Weights of a network for single slices, for the same network with several slices and a condition.

    At first it returns for each slice what the network returns for their mean, whatever the condition: a convolution
    with more input channels gets the same weights for each slice, divided by their number, and 0 for the condition; one
    with more output channels gets the same weights for each slice. Everything else stays as it is.

    Args:
        weights: by name.
        own: those of the wider network, whose shapes are taken.
        copies: number of slices.
    """
    return {name: _widened(weight, own.get(name), copies) for name, weight in weights.items()}


def _widened(weight: object, own: torch.Tensor | None, copies: int) -> object:
    if not isinstance(weight, torch.Tensor) or own is None or weight.ndim != own.ndim or weight.ndim == 0:
        return weight
    if len(own) == copies * len(weight):
        weight = weight.repeat(copies, *[1] * (weight.ndim - 1))
    if weight.ndim > 1 and own.shape[1] > weight.shape[1]:
        missing = own.shape[1] - copies * weight.shape[1]
        nothing = weight.new_zeros(len(weight), max(missing, 0), *weight.shape[2:])
        weight = torch.cat([*[weight / copies] * copies, nothing], dim=1)
    return weight


def _check(weights: Mapping[str, object], own: Mapping[str, torch.Tensor], path: str | os.PathLike[str]) -> None:
    """Check the type and values of `weights` against the network's `own`; PyTorch checks their names."""
    for name in own.keys() & weights.keys():
        weight = weights[name]
        if not isinstance(weight, torch.Tensor):
            raise InputError(f"{path}: found a {type(weight).__name__} as weight {name}, expected a tensor")
        if weight.is_complex() or (own[name].is_floating_point() and not weight.is_floating_point()):
            kind = str(weight.dtype).removeprefix("torch.")
            raise InputError(f"{path}: found {kind} in its weight {name}, expected real floating-point numbers")
        if not weight.isfinite().all():
            raise InputError(f"{path}: found NaN or infinite values in its weight {name}, expected finite ones")
