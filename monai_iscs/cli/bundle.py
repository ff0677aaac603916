# SPDX-License-Identifier: Apache-2.0
"""Bundles by name or path: their config, their network with its weights, and the device it runs on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_iscs.cli.processes import local_process, process_count
from monai_iscs.errors import InputError

if TYPE_CHECKING:
    import torch
    from monai.bundle import ConfigParser
    from torch import nn

_PACKAGE = Path(__file__).resolve().parents[1]
# In this order: the working directory, the installed package, the checkout that the package is imported from.
_SHELVES = (Path("bundles"), _PACKAGE / "bundles", _PACKAGE.parent / "bundles")


def bundle_names() -> list[str]:
    """The names of the bundles that can be found, sorted."""
    return sorted({path.parents[1].name for shelf in _SHELVES for path in shelf.glob("*/configs/metadata.json")})


def find_bundle(name: str) -> Path:
    """The folder of a bundle.

    Args:
        name: a path, or a name that is looked for in ``./bundles`` and in the package.

    Raises:
        InputError: there is no such bundle; the message lists those that exist.
    """
    for folder in (Path(name), *(shelf / name for shelf in _SHELVES)):
        if (folder / "configs").is_dir():
            return folder.resolve()
    known = ", ".join(bundle_names()) or "none found"
    raise InputError(f"found {name!r}, expected the path of a bundle's folder or one of: {known}")


def read_entries(folder: Path, name: str) -> dict[str, Any]:
    """What one config of a bundle says, as it is written.

    Raises:
        InputError: it is missing or is not readable as JSON.
    """
    from monai.bundle import ConfigParser

    file = folder / "configs" / f"{name}.json"
    if not file.is_file():
        there = ", ".join(sorted(path.name for path in (folder / "configs").glob("*.json")))
        raise InputError(f"{file}: missing; expected a bundle with a config {name}.json, found {there}")
    try:
        read = ConfigParser.load_config_file(str(file))
    except ValueError as error:
        raise InputError(f"{file}: cannot be read as JSON ({error})") from error
    if not isinstance(read, dict):
        raise InputError(f"{file}: holds a {type(read).__name__}, expected entries by name")
    return read


def read_config(folder: Path, kind: str, overrides: Mapping[str, Any], *, over: Sequence[str] = ()) -> ConfigParser:
    """A bundle's config, with some of its entries replaced.

    Args:
        folder: the bundle.
        kind: name of the config, ``"inference"`` or ``"train"``.
        overrides: new values by id, such as ``{"views": 20}``; they go before all configs.
        over: names of further configs of the bundle, each overriding entries that those before it have.

    Raises:
        InputError: a config is missing or is not readable as JSON, or it has no entry to override.
    """
    from monai.bundle import ConfigParser

    parser = ConfigParser(read_entries(folder, kind))
    over = [name.removesuffix(".json") for name in over]
    changes = {f"{name}.json": read_entries(folder, name) for name in over}
    changes["the command line"] = {"bundle_root": str(folder), **overrides}
    for source, values in changes.items():
        for key, value in values.items():
            if key not in parser and source == "the command line":
                option = key.replace("_", "-")
                raise InputError(f"--{option}: {folder.name} has no entry {key!r}, expected only options of its kind")
            if key not in parser:
                raise InputError(f"{folder / 'configs' / kind}.json: has no entry {key!r}, which {source} sets")
            parser[key] = value
    return parser


def load_network(parser: ConfigParser, device: torch.device) -> nn.Module:
    """The config's ``network_def`` with the weights of its ``ckpt_path``, ready to be used.

    Raises:
        InputError: the model file is missing, damaged, made for another network, or another bundle's.
    """
    from monai_iscs.priors.weights import load_weights

    file = Path(parser.get_parsed_content("ckpt_path"))
    network = parser.get_parsed_content("network_def")
    load_weights(network, file)
    _check_origin(file, Path(parser.get_parsed_content("bundle_root")))
    return network.eval().requires_grad_(False).to(device)


def _check_origin(file: Path, folder: Path) -> None:
    """Raise an `InputError` for the weights of another bundle, which the same network would take without a word.

    A bundle's metadata may say the SHA-256 of the weights that it came with. Weights that none knows may be anybody's.
    """
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if _shipped(folder) == digest:
        return
    for name in bundle_names():
        if _shipped(find_bundle(name)) == digest:
            raise InputError(f"{file}: holds the weights of the bundle {name}, expected those of {folder.name}")


def _shipped(folder: Path) -> str | None:
    """The SHA-256 of the weights that a bundle came with, or None where it doesn't say."""
    try:
        return json.loads((folder / "configs" / "metadata.json").read_text()).get("weights_sha256")
    except (OSError, ValueError, AttributeError):
        return None


def choose_device(name: str | None) -> torch.device:
    """The device called ``name``, or a GPU if there is one and else the CPU.

    Raises:
        InputError: this machine has no such device; the message lists those that it has.
    """
    import torch

    devices = ["cpu"]
    if torch.accelerator.is_available():
        kind = torch.accelerator.current_accelerator().type
        devices += [f"{kind}:{index}" for index in range(torch.accelerator.device_count())]
    if name is None:
        name = "cuda" if devices[1:] and devices[1].startswith("cuda") else "cpu"
    if process_count() > 1 and name.startswith("cuda:"):
        raise InputError(
            f"--device: found {name!r} with {process_count()} processes, expected cuda: each takes its own"
        )
    own = f"cuda:{local_process()}" if name == "cuda" else name
    if own not in {*devices, *(device.split(":")[0] for device in devices)}:
        raise InputError(f"--device: found {name!r}, expected one that this machine has: {', '.join(devices)}")
    return torch.device(own)


def limit_memory(device: torch.device, gigabytes: float) -> None:
    """Let this process use no more of a GPU's memory; the prior then takes fewer slices at a time.

    Raises:
        InputError: the device is no CUDA device, or doesn't have as much.
    """
    import torch

    if device.type != "cuda":
        raise InputError(f"--memory: found with device {device}, expected a CUDA device: no other can be limited")
    total = torch.cuda.mem_get_info(device)[1] / 1e9
    if gigabytes > total:
        raise InputError(f"--memory: found {gigabytes:g} GB, expected at most the {total:.1f} GB that {device} has")
    torch.cuda.set_per_process_memory_fraction(gigabytes / total, device)
