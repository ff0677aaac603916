# SPDX-License-Identifier: Apache-2.0
"""From a published prior to a bundle: its network and weights with another bundle's settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.files import sha256
from monai_iscs.priors import Denoiser, SlicePrior, load_published_prior
from monai_iscs.reports import RunFolder, write_json
from monai_iscs.sampling import RECIPES
from monai_iscs.workflows.bundle import read_config, read_entries
from monai_iscs.workflows.contract import check_version
from monai_iscs.workflows.limits import BYTES_A_NUMBER, check_memory

ACROSS = "across"  # name of the network for slices across the main ones
IMPORTS = ("$import dataclasses", "$import monai_iscs.priors as priors", "$import monai_iscs.sampling as sampling")
PUBLISHED_SIZE = 256  # pixels along each side of the slices that the published priors were trained on
# A config that sets one of these belongs to the network that is replaced, or was tuned for it.
_OF_THE_NETWORK = {"network_def", "ckpt_path", "networks", "train", "recipes", "calibrations"}


class Converted(NamedTuple):
    """The result of a conversion.

    Attributes:
        weights: how many numbers the networks have.
        kind: of weights and prior, in words.
    """

    weights: int
    kind: str


def convert_prior(
    checkpoints: Sequence[Path], bundle: Path, output: Path, *, size: int | None, orientation: str, half: bool
) -> Converted:
    """Writes a bundle with the settings of another one and a published prior.

    The recipes that the other bundle tuned for its own prior are left out; the new one has only those of the library.
    A prior of three slices (DiffusionBlend++) is used as `Triplets`; with two of single ones there is the method tpdm,
    which uses them in turn (`Alternating`).

    Args:
        checkpoints: the file as its authors published it; or two, the second for slices across the first one's: along y
            if those are along z, else along z.
        bundle: whose settings to take.
        output: folder of the new bundle.
        size: pixels along each side of a slice, or None for those of the published priors.
        orientation: of slices in the training, see `load_published_prior`.
        half: store weights of half precision.

    Raises:
        InputError: a file that is not such a checkpoint, more than two, a prior of several channels, a size that the
            bundle does not use or that does not fit into memory, or a bundle of another contract.
    """
    inference = read_entries(bundle, "inference")
    check_version(inference, bundle / "configs" / "inference.json")
    if "size" in inference:
        inference["size"] = PUBLISHED_SIZE if size is None else size
        check_memory("--size", inference["size"], 2 * BYTES_A_NUMBER * inference["size"] ** 2)
    elif size is not None:
        raise InputError(f"--size: found {size}, expected none: {bundle} leaves slices as they are")
    if len(checkpoints) > 2:
        raise InputError(f"checkpoint: found {len(checkpoints)} files, expected one, or two of perpendicular slices")
    prior, *across = priors = [load_published_prior(file, orientation=orientation) for file in checkpoints]
    for file, loaded in zip(checkpoints, priors, strict=True):
        if loaded.channels != 1:
            raise InputError(f"{file}: found a prior of {loaded.channels} channels, expected 1")
        if loaded.slices != 1 and across:
            raise InputError(f"{file}: found a prior of {loaded.slices} slices, expected 1, as in TPDM")
    inference["network_def"] = prior.definition
    axis = _slice_axis(bundle)
    inference["networks"] = {}
    if across:
        path = f"$@bundle_root + '/models/{ACROSS}.pt'"
        inference["networks"][ACROSS] = {"network_def": across[0].definition, "ckpt_path": path}
    for entry, nothing in (("method", None), ("plugs", {})):
        if entry in inference:
            inference[entry] = nothing
    changes = _changes(axis, slices=prior.slices, across=bool(across))
    inference["recipes"] = {
        name: f"$dataclasses.replace(sampling.{name.upper()}, {changes})" if changes else f"$sampling.{name.upper()}"
        for name in RECIPES
    }
    if changes:
        inference["imports"] = list(dict.fromkeys([*inference.get("imports", []), *IMPORTS]))
    if inference["recipe"] not in RECIPES:
        inference["recipe"] = next(iter(RECIPES))
    with RunFolder(output).results() as stage:
        for name in ("configs", "models"):
            (stage / name).mkdir()
        for name, loaded in zip(("model", ACROSS), priors, strict=False):
            with (stage / "models" / f"{name}.pt").open("wb") as file:  # its errors are clearer than PyTorch's
                torch.save(_stored(loaded.denoiser, half=half), file)
        metadata = _metadata(bundle, checkpoints, prior.denoiser.size_divisor)
        configs = {"inference": inference, "metadata": metadata}
        for file in sorted((bundle / "configs").glob("*.json")):
            entries = configs.get(file.stem) or read_entries(bundle, file.stem)
            if file.stem not in configs and {key.split("::")[0] for key in entries} & _OF_THE_NETWORK:
                continue
            if entries.get("recipe", "paper") not in RECIPES:  # the new bundle lacks it: keep that one's choice
                entries.pop("recipe")
            write_json(stage / "configs" / file.name, entries)
    weights = sum(parameter.numel() for loaded in priors for parameter in loaded.denoiser.parameters())
    kind = "averaged (EMA)" if all(loaded.averaged for loaded in priors) else "not averaged"
    if prior.slices != 1:
        kind += f"; taken for {prior.slices} slices at a time, as of DiffusionBlend"
    return Converted(weights, kind + f"; models/{ACROSS}.pt, for --method tpdm" if across else kind)


def _slice_axis(bundle: Path) -> int:
    """Along which the slices of a bundle's prior are stacked."""
    return read_config(bundle, "inference", {}).get_parsed_content("inferer").recipe.prior.axis


def _changes(axis: int, *, slices: int, across: bool) -> str:
    """What the library's recipes need for a published prior, as arguments of `dataclasses.replace`."""
    single = f"priors.SlicePrior(axis={axis})"
    if slices != 1:
        triplets = f"priors.Triplets(axis={axis})"
        return f"prior={triplets}, priors={{'diffusionblend': {triplets}}}"
    own = [] if axis == SlicePrior().axis else [f"prior={single}"]
    if across:
        other = f"priors.SlicePrior(axis={1 if axis == 2 else 2}, network='{ACROSS}')"
        own.append(f"priors={{'tpdm': priors.Alternating({single}, {other})}}")
    return ", ".join(own)


def _stored(denoiser: Denoiser, *, half: bool) -> dict[str, Tensor]:
    """The weights to write; buffers, such as frequencies, keep their full precision."""
    parameters = {name for name, _ in denoiser.named_parameters()}
    state = denoiser.state_dict()
    return {name: value.half() if half and name in parameters else value.clone() for name, value in state.items()}


def _metadata(bundle: Path, checkpoints: Sequence[Path], divisor: int) -> dict[str, Any]:
    """The bundle's metadata, changed for the new one."""
    metadata = read_entries(bundle, "metadata")
    metadata.pop("weights_sha256", None)  # of the replaced weights
    names = " and ".join(file.name for file in checkpoints)
    hashes = " and ".join(sha256(file) for file in checkpoints)
    origin = f"the published checkpoint {names}"
    metadata.update(
        changelog={str(metadata.get("version", "0.1.0")): f"converted from {origin}"},
        description=f"The settings of the bundle {bundle.name} with the prior of {origin}.",
        authors=f"those of {origin}; monai_iscs for the settings",
        copyright=f"of the weights: as published with {names}",
        data_source=f"as published with {names}, SHA-256 {hashes}",
        image_classes=f"as published with {names}",
    )
    formats = metadata.get("network_data_format")
    for ends in formats.values() if isinstance(formats, Mapping) else ():
        for image in ends.values() if isinstance(ends, Mapping) else ():
            if isinstance(image, dict):
                image["spatial_shape"] = [f"{divisor}*n"] * 2
    return metadata
