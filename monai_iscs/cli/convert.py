# SPDX-License-Identifier: Apache-2.0
"""``monai-iscs convert``: a bundle of a published prior."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.files import sha256
from monai_iscs.priors import Denoiser, load_published_prior
from monai_iscs.reports import RunFolder, write_json
from monai_iscs.workflows.bundle import read_entries
from monai_iscs.workflows.limits import BYTES_A_NUMBER, check_memory

PUBLISHED_SIZE = 256  # pixels along each side of the slices that the published priors were trained on
# A config that says one of these is about the network that is replaced.
_OF_THE_NETWORK = {"network_def", "ckpt_path", "train"}


def convert(arguments: Namespace) -> None:
    """Runs the verb.

    Raises:
        InputError: something in the arguments cannot be used.
    """
    if arguments.output.is_dir():
        with RunFolder(arguments.output):
            pass  # what a killed run left there is gone
    if arguments.output.is_dir() and any(arguments.output.iterdir()):
        raise InputError(f"{arguments.output}: holds files already, expected a new folder")
    inference = read_entries(arguments.bundle, "inference")
    if "size" in inference:
        inference["size"] = PUBLISHED_SIZE if arguments.size is None else arguments.size
        check_memory("--size", inference["size"], 2 * BYTES_A_NUMBER * inference["size"] ** 2)
    elif arguments.size is not None:
        raise InputError(f"--size: found {arguments.size}, expected none: {arguments.bundle} leaves slices as they are")
    prior = load_published_prior(arguments.checkpoint, orientation=arguments.orientation)
    if prior.channels != 1:
        raise InputError(f"{arguments.checkpoint}: is for images of {prior.channels} channels, expected 1")
    inference["network_def"] = prior.definition
    if inference.get("preset") == "default":
        inference["preset"] = "released"  # the default is tuned to the bundle's own prior
    weights = _stored(prior.denoiser, half=arguments.half)
    folder = RunFolder(arguments.output)
    with folder.results() as stage:
        for name in ("configs", "models"):
            (stage / name).mkdir()
        with (stage / "models" / "model.pt").open("wb") as file:  # whose errors say more than PyTorch's own
            torch.save(weights, file)
        configs = {"inference": inference, "metadata": _metadata(arguments, prior.denoiser.size_divisor)}
        for file in sorted((arguments.bundle / "configs").glob("*.json")):
            entries = configs.get(file.stem) or read_entries(arguments.bundle, file.stem)
            if file.stem in configs or not {key.split("::")[0] for key in entries} & _OF_THE_NETWORK:
                write_json(stage / "configs" / file.name, entries)
    numbers = sum(parameter.numel() for parameter in prior.denoiser.parameters())
    kind = "averaged (EMA)" if prior.averaged else "as the file has them, not averaged"
    print(f"{folder.path.resolve()}: configs, models/model.pt ({numbers:,} weights, {kind})")


def _stored(denoiser: Denoiser, *, half: bool) -> dict[str, Tensor]:
    """The weights to write; what is no parameter, such as frequencies, is worth its full precision."""
    parameters = {name for name, _ in denoiser.named_parameters()}
    state = denoiser.state_dict()
    return {name: value.half() if half and name in parameters else value.clone() for name, value in state.items()}


def _metadata(arguments: Namespace, divisor: int) -> dict[str, Any]:
    """The bundle's metadata, true for the new one."""
    metadata = read_entries(arguments.bundle, "metadata")
    metadata.pop("weights_sha256", None)  # of the weights that are replaced
    file = arguments.checkpoint
    origin = f"the published checkpoint {file.name}"
    metadata.update(
        changelog={str(metadata.get("version", "0.1.0")): f"converted from {origin}"},
        description=f"The settings of the bundle {arguments.bundle.name} with the prior of {origin}.",
        authors=f"those of {origin}; monai_iscs for the settings",
        copyright=f"of the weights: as published with {file.name}",
        data_source=f"as published with {file.name}, SHA-256 {sha256(file)}",
        image_classes=f"as published with {file.name}",
    )
    formats = metadata.get("network_data_format")
    for ends in formats.values() if isinstance(formats, Mapping) else ():
        for image in ends.values() if isinstance(ends, Mapping) else ():
            if isinstance(image, dict):
                image["spatial_shape"] = [f"{divisor}*n"] * 2
    return metadata
