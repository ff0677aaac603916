# SPDX-License-Identifier: Apache-2.0
"""From a published prior to a bundle: its network and weights with another bundle's settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.files import sha256
from monai_iscs.priors import Denoiser, load_published_prior
from monai_iscs.reports import RunFolder, write_json
from monai_iscs.sampling import RECIPES
from monai_iscs.workflows.bundle import read_entries
from monai_iscs.workflows.contract import check_version
from monai_iscs.workflows.limits import BYTES_A_NUMBER, check_memory

PUBLISHED_SIZE = 256  # pixels along each side of the slices that the published priors were trained on
# A config that sets one of these belongs to the network that is replaced, or was tuned for it.
_OF_THE_NETWORK = {"network_def", "ckpt_path", "train", "recipes", "calibrations"}


class Converted(NamedTuple):
    """The result of a conversion.

    Attributes:
        weights: how many numbers the network has.
        averaged: whether they are the averages of a training (EMA).
    """

    weights: int
    averaged: bool


def convert_prior(
    checkpoint: Path, bundle: Path, output: Path, *, size: int | None, orientation: str, half: bool
) -> Converted:
    """Writes a bundle with the settings of another one and a published prior.

    The recipes that the other bundle tuned for its own prior are left out; the new one has only those of the library.

    Args:
        checkpoint: the file as its authors published it.
        bundle: whose settings to take.
        output: folder of the new bundle.
        size: pixels along each side of a slice, or None for those of the published priors.
        orientation: of slices in the training, see `load_published_prior`.
        half: store weights of half precision.

    Raises:
        InputError: a file that is not such a checkpoint, a prior of several channels, a size that the bundle does not
            use or that does not fit into memory, or a bundle of another contract.
    """
    inference = read_entries(bundle, "inference")
    check_version(inference, bundle / "configs" / "inference.json")
    if "size" in inference:
        inference["size"] = PUBLISHED_SIZE if size is None else size
        check_memory("--size", inference["size"], 2 * BYTES_A_NUMBER * inference["size"] ** 2)
    elif size is not None:
        raise InputError(f"--size: found {size}, expected none: {bundle} leaves slices as they are")
    prior = load_published_prior(checkpoint, orientation=orientation)
    if prior.channels != 1:
        raise InputError(f"{checkpoint}: found a prior of {prior.channels} channels, expected 1")
    inference["network_def"] = prior.definition
    inference["recipes"] = {name: recipe for name, recipe in inference["recipes"].items() if name in RECIPES}
    if inference["recipe"] not in RECIPES:
        inference["recipe"] = next(iter(RECIPES))
    with RunFolder(output).results() as stage:
        for name in ("configs", "models"):
            (stage / name).mkdir()
        with (stage / "models" / "model.pt").open("wb") as file:  # its errors are clearer than PyTorch's
            torch.save(_stored(prior.denoiser, half=half), file)
        metadata = _metadata(bundle, checkpoint, prior.denoiser.size_divisor)
        configs = {"inference": inference, "metadata": metadata}
        for file in sorted((bundle / "configs").glob("*.json")):
            entries = configs.get(file.stem) or read_entries(bundle, file.stem)
            if file.stem not in configs and {key.split("::")[0] for key in entries} & _OF_THE_NETWORK:
                continue
            if entries.get("recipe", "paper") not in RECIPES:  # the new bundle lacks it: keep that one's choice
                entries.pop("recipe")
            write_json(stage / "configs" / file.name, entries)
    return Converted(sum(parameter.numel() for parameter in prior.denoiser.parameters()), prior.averaged)


def _stored(denoiser: Denoiser, *, half: bool) -> dict[str, Tensor]:
    """The weights to write; buffers, such as frequencies, keep their full precision."""
    parameters = {name for name, _ in denoiser.named_parameters()}
    state = denoiser.state_dict()
    return {name: value.half() if half and name in parameters else value.clone() for name, value in state.items()}


def _metadata(bundle: Path, checkpoint: Path, divisor: int) -> dict[str, Any]:
    """The bundle's metadata, changed for the new one."""
    metadata = read_entries(bundle, "metadata")
    metadata.pop("weights_sha256", None)  # of the replaced weights
    origin = f"the published checkpoint {checkpoint.name}"
    metadata.update(
        changelog={str(metadata.get("version", "0.1.0")): f"converted from {origin}"},
        description=f"The settings of the bundle {bundle.name} with the prior of {origin}.",
        authors=f"those of {origin}; monai_iscs for the settings",
        copyright=f"of the weights: as published with {checkpoint.name}",
        data_source=f"as published with {checkpoint.name}, SHA-256 {sha256(checkpoint)}",
        image_classes=f"as published with {checkpoint.name}",
    )
    formats = metadata.get("network_data_format")
    for ends in formats.values() if isinstance(formats, Mapping) else ():
        for image in ends.values() if isinstance(ends, Mapping) else ():
            if isinstance(image, dict):
                image["spatial_shape"] = [f"{divisor}*n"] * 2
    return metadata
