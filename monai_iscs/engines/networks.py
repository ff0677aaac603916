# SPDX-License-Identifier: Apache-2.0
"""The networks of a prior as one module, which a MONAI evaluator takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from monai_iscs.errors import InputError
from monai_iscs.priors.weights import load_weights


def networks_by_name(
    names: Sequence[str], network: nn.Module, further: Mapping[str, Mapping[str, Any]], device: torch.device
) -> nn.Module:
    """All networks that a recipe's prior uses, for the inferer.

    Args:
        names: that the prior gives them, `recipe.prior.networks`.
        network: the bundle's first one, named "prior", on the device. A handler loads its weights.
        further: the others by name, each with its `network_def` and the file `ckpt_path`, which is loaded here.
        device: of the networks.

    Returns:
        The network itself if it is the only one, else a `ModuleDict`.

    Raises:
        InputError: a name without a network, or weights that `load_weights` refuses.
    """
    modules = {}
    for name in names:
        if name != "prior" and name not in further:
            raise InputError(f"networks: found no network {name!r}, expected one: the recipe's prior uses it")
        modules[name] = network if name == "prior" else _loaded(**further[name]).to(device)
    return network if list(modules) == ["prior"] else nn.ModuleDict(modules)


def _loaded(network_def: nn.Module, ckpt_path: str) -> nn.Module:
    load_weights(network_def, ckpt_path)
    return network_def
