# SPDX-License-Identifier: Apache-2.0
"""The projector backends and which of them runs where."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Protocol

import torch

from monai_iscs.errors import InputError
from monai_iscs.operators.backends.rays import RayTable


class Backend(Protocol):
    """One implementation of the same discrete operator: Joseph's method on a `RayTable`."""

    def __init__(self, rays: RayTable) -> None: ...

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        """(N, X, Y, Z) to (N, view, v, u)."""
        ...

    def adjoint(self, projections: torch.Tensor) -> torch.Tensor:
        """(N, view, v, u) to (N, X, Y, Z), the exact transpose."""
        ...


# Triton's interpreter runs kernels on CPU tensors, very slowly: for tests.
_TRITON_DEVICES = {"cuda", "cpu"} if os.environ.get("TRITON_INTERPRET") == "1" else {"cuda"}

# name -> (module, class, device types it runs on; None = all), the preferred one first
_REGISTRY: dict[str, tuple[str, str, frozenset[str] | None]] = {
    "numba": ("numba_joseph", "NumbaJoseph", frozenset({"cpu"})),
    "triton": ("triton_joseph", "TritonJoseph", frozenset(_TRITON_DEVICES)),
    "torch": ("torch_separable", "TorchSeparable", None),
}
BACKENDS = ("auto", *_REGISTRY)


def check_backend(name: str) -> str:
    """`name`, if it is a backend's or "auto"."""
    if name not in BACKENDS:
        raise InputError(f"backend is {name!r}, expected one of {', '.join(BACKENDS)}")
    return name


def choose_backend(name: str, device: torch.device) -> str:
    """The backend that `name` means on this device: "auto" is the first that runs there.

    Raises:
        InputError: if the named backend does not run on the device.
    """
    for candidate, (_, _, devices) in _REGISTRY.items():
        if name in ("auto", candidate) and (devices is None or device.type in devices):
            return candidate
    devices = _REGISTRY[name][2]
    raise InputError(f"backend {name!r} got a tensor on {device}, expected one on {', '.join(sorted(devices))}")


def make_backend(name: str, rays: RayTable) -> Backend:
    """Import and build the backend of this name (compilers and drivers are only imported when used)."""
    module, cls, _ = _REGISTRY[name]
    return getattr(import_module(f"{__name__}.{module}"), cls)(rays)
