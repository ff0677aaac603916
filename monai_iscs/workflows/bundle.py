# SPDX-License-Identifier: Apache-2.0
"""Bundles by name or path: their config, their network with its weights, and the device it runs on."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_iscs.errors import InputError
from monai_iscs.files import sha256

if TYPE_CHECKING:
    import torch
    from torch import nn

    from monai_iscs.workflows.config import BundleConfig

_PACKAGE = Path(__file__).resolve().parents[1]
# Of the installed package, or of the checkout that it is imported from; never of the working directory: a bundle's
# config is code, and a name must not run unknown files.
_SHELF = _PACKAGE / "bundles" if (_PACKAGE / "bundles").is_dir() else _PACKAGE.parent / "bundles"


def bundle_names() -> list[str]:
    """The names of the package's own bundles, sorted."""
    return sorted(path.parents[1].name for path in _SHELF.glob("*/configs/metadata.json"))


def find_bundle(name: str | os.PathLike[str]) -> Path:
    """The folder of a bundle. A bundle is code: run only those you trust.

    Args:
        name: one of the package's own, such as ``"body_ct_reconstruction"``, or the path of a folder: text with a
            separator in it, such as ``"./my_bundle"``, ``"."``, or a `pathlib.Path`.

    Raises:
        InputError: there is no such bundle; the message lists the package's own.
    """
    text = os.fspath(name)
    known = ", ".join(bundle_names()) or "none found"
    if isinstance(name, str) and not _is_path(text):
        if text in bundle_names():
            return (_SHELF / text).resolve()
        hint = f"; the folder of that name here is {os.path.join('.', text)}" if text and Path(text).is_dir() else ""
        raise InputError(f"bundle: found {text!r}, expected one of {known}, or a path such as ./my_bundle{hint}")
    folder = expanded(text)
    if not (folder / "configs").is_dir():
        raise InputError(
            f"bundle: found {text!r}, expected a bundle's folder, with a folder configs, or one of {known}"
        )
    return folder.resolve()


def _is_path(text: str) -> bool:
    return text in (".", "..") or text.startswith("~") or any(sep in text for sep in (os.sep, os.altsep) if sep)


def expanded(text: str) -> Path:
    """A typed path, with ``~`` and ``~user`` replaced by the home folder.

    Raises:
        InputError: an empty text, a character that no path has, or an unknown user.
    """
    if not text.strip() or "\0" in text:
        raise InputError(f"path: found {text!r}, expected the path of a file or folder")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise InputError(f"path: found {text!r}, expected the folder of a user that exists") from error


def read_entries(folder: Path, name: str) -> dict[str, Any]:
    """The entries of one config of a bundle, as they are written.

    Raises:
        InputError: it is missing or is not valid JSON.
    """
    from monai.bundle import ConfigParser

    file = folder / "configs" / f"{name}.json"
    if file.exists() and not file.is_file():
        raise InputError(f"{file}: found a folder, expected a file with JSON")
    if not file.is_file():
        there = ", ".join(sorted(path.name for path in (folder / "configs").glob("*.json")))
        raise InputError(f"{file}: found no such file beside {there or 'nothing'}, expected a config of the bundle")
    try:
        read = ConfigParser.load_config_file(str(file))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: found no valid JSON ({error}), expected a config") from error
    if not isinstance(read, dict):
        raise InputError(f"{file}: found a {type(read).__name__}, expected entries by name")
    return read


def read_config(folder: Path, kind: str, overrides: Mapping[str, Any], *, over: Sequence[str] = ()) -> BundleConfig:
    """A bundle's config, with some of its entries replaced.

    Args:
        folder: the bundle.
        kind: name of the config, ``"inference"`` or ``"train"``.
        overrides: new values by id, such as ``{"views": 20}``; they override all configs.
        over: names of further configs of the bundle, each overriding entries that those before it have; it may add
            entries that others of its own refer to.

    Raises:
        InputError: a config is missing or is not valid JSON, it has no entry to override, or it breaks the contract of
            its kind.
    """
    from monai_iscs.workflows.config import BundleConfig
    from monai_iscs.workflows.contract import check_version

    config = BundleConfig(read_entries(folder, kind), folder / "configs" / f"{kind}.json")
    if kind == "inference":
        check_version(config.get(), config.file)
    over = [name.removesuffix(".json") for name in over]
    changes = {str(folder / "configs" / f"{name}.json"): read_entries(folder, name) for name in over}
    changes["the command line"] = overrides
    for source, values in changes.items():
        for key, value in values.items():
            setter = f"--{key.replace('_', '-')}" if source == "the command line" else Path(source).name
            if key not in config and not _is_used(key, values):
                raise InputError(f"{config.file}: found no entry {key!r}, expected one, which {setter} sets")
            config[key] = value
            config.origins[key] = setter if source == "the command line" else source
    config["bundle_root"] = str(folder)
    config.check()
    return config


def _is_used(key: str, entries: Mapping[str, Any]) -> bool:
    """Whether an entry of a further config is referred to there: else, a new one is a slip of the pen."""
    return re.search(rf"@{re.escape(key)}\b", json.dumps(entries, default=str)) is not None


def load_network(parser: BundleConfig, device: torch.device, name: str = "prior") -> nn.Module:
    """The config's ``network_def`` with the weights of its ``ckpt_path``, ready to use.

    Args:
        parser: the config.
        device: of the network.
        name: "prior", or one of the config's ``networks``, which each have both entries.

    Raises:
        InputError: there is no such network, or its model file is missing, damaged, made for another network, or
            another bundle's.
    """
    from monai_iscs.priors.weights import load_weights

    at = "" if name == "prior" else f"networks::{name}::"
    if at and at.removesuffix("::") not in parser:
        raise InputError(f"{parser.file}: found no network {name!r} in its entry 'networks', expected one")
    file = Path(parser.get_parsed_content(f"{at}ckpt_path"))
    network = parser.get_parsed_content(f"{at}network_def")
    load_weights(network, file)
    check_origin(file, Path(parser.get_parsed_content("bundle_root")))
    return network.eval().requires_grad_(False).to(device)


def check_origin(file: Path, folder: Path) -> None:
    """Raise an `InputError` for weights of another modality, which the same network would load without an error.

    Our bundles' metadata have the SHA-256 of the weights that they came with. Unknown weights are accepted.

    Args:
        file: the weights.
        folder: the bundle that uses them.
    """
    digest, (_, modality) = sha256(file), _origin(folder)
    for name in bundle_names():
        shipped, other = _origin(find_bundle(name))
        if shipped == digest and modality not in (None, other):
            raise InputError(f"{file}: found the {other} weights of the bundle {name}, expected those of {folder.name}")


def _origin(folder: Path) -> tuple[str | None, str | None]:
    """The SHA-256 of the weights that a bundle came with, and its modality; None if unknown."""
    try:
        metadata = json.loads((folder / "configs" / "metadata.json").read_text())
        modality = metadata["network_data_format"]["inputs"]["image"]["modality"]
    except (OSError, ValueError, KeyError, TypeError):
        return None, None
    return metadata.get("weights_sha256"), modality
