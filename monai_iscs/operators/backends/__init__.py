# SPDX-License-Identifier: Apache-2.0
"""The projector backends and which of them runs where."""

from __future__ import annotations

import os
import shutil
import sysconfig
import warnings
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, Protocol

import torch

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators.backends.rays import AlignedScan, RayTable
from monai_iscs.operators.backends.scan_forms import FlatScan, HelixScan, PixelScan, RTKScan
from monai_iscs.operators.geometry import ConeBeamGeometry


class Backend(Protocol):
    """One implementation of a scan's line integrals, made from the form in which it takes scans."""

    def __init__(self, scan: AlignedScan) -> None: ...

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        """(N, X, Y, Z) to (N, view, v, u)."""
        ...

    def adjoint(self, projections: torch.Tensor) -> torch.Tensor:
        """(N, view, v, u) to (N, X, Y, Z), the transpose: exact where the backend is matched."""
        ...


class _Entry(NamedTuple):
    module: str
    cls: str
    devices: frozenset[str] | None
    """Device types it runs on; None = all."""
    package: str
    """What Python imports."""
    install: str
    """How a user installs it."""
    takes: type[AlignedScan]
    """The form in which it takes a scan; `takes.of` says which scans it can do, and refuses the others by name."""
    automatic: bool = True
    """Whether "auto" may choose it."""
    matched: bool = True


_CPU, _CUDA = frozenset({"cpu"}), frozenset({"cuda"})
# Triton's interpreter runs kernels on CPU tensors, very slowly: for tests.
_TRITON = _CUDA | _CPU if os.environ.get("TRITON_INTERPRET") == "1" else _CUDA

# the preferred one first
_REGISTRY = {
    "numba": _Entry("numba_joseph", "NumbaJoseph", _CPU, "numba", "pip install numba", RayTable),
    "triton": _Entry("triton_joseph", "TritonJoseph", _TRITON, "triton", "pip install triton (Linux)", RayTable),
    "torch": _Entry("torch_separable", "TorchSeparable", None, "torch", "pip install torch", RayTable),
    # other projects' projectors, only imported when named; their modules name their licences
    "diffct": _Entry(
        *("diffct_siddon", "DiffctSiddon", _CPU | _CUDA, "diffct", 'pip install "diffct[cu12]"', PixelScan),
        automatic=False,
    ),
    "rtk": _Entry("rtk_joseph", "RTKJoseph", _CPU, "itk.RTKPython", "pip install itk-rtk", RTKScan, automatic=False),
    "astra": _Entry(
        *("astra_cone", "AstraCone", _CPU | _CUDA, "astra", "pip install astra-toolbox (GPL-3)", FlatScan),
        automatic=False,
        matched=False,
    ),
    "torch-radon": _Entry(
        *("torch_radon_cone", "TorchRadonCone", _CUDA, "torch_radon"),
        "conda install -c conda-forge carterbox-torch-radon (GPL-3, Linux)",
        HelixScan,
        automatic=False,
        matched=False,
    ),
}
BACKENDS = ("auto", *_REGISTRY)


def check_backend(name: str) -> str:
    """`name`, if it is a backend's or "auto"."""
    if name not in BACKENDS:
        raise InputError(f"backend: found {name!r}, expected one of {', '.join(BACKENDS)}")
    return name


def is_matched(name: str) -> bool:
    """Whether the adjoint of this backend is the exact transpose."""
    return name == "auto" or _REGISTRY[name].matched


def choose_backend(name: str, device: torch.device) -> str:
    """The backend that `name` means on this device: "auto" is the first that is installed and runs there.

    Raises:
        InputError: if the named backend does not run on the device.
    """
    for candidate, entry in _REGISTRY.items():
        if entry.devices is not None and device.type not in entry.devices:
            continue
        if name == candidate:
            return candidate
        if name == "auto" and entry.automatic:
            missing = _missing(entry)
            if missing is None:
                return candidate
            if device.type == "cuda":
                warnings.warn(
                    f"backend {candidate!r} is left out, which makes the projector hundreds of times slower: {missing} "
                    "is missing",
                    stacklevel=2,
                )
    devices = _REGISTRY[name].devices
    raise InputError(f"backend {name!r}: found a tensor on {device}, expected one on {', '.join(sorted(devices))}")


def _missing(entry: _Entry) -> str | None:
    """What a backend lacks to run here: its package, and for Triton the tools to build its launcher."""
    if find_spec(entry.package) is None:
        return entry.install
    if entry.package == "triton":
        if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
            return "a C compiler (such as gcc)"
        scheme = sysconfig.get_default_scheme().replace("posix_local", "posix_prefix")  # as in Triton
        header = Path(sysconfig.get_paths(scheme)["include"]) / "Python.h"
        if not (header.exists() or "CPATH" in os.environ or "C_INCLUDE_PATH" in os.environ):
            return f"{header} (such as from the system's package python3-dev)"
    return None


def align_scan(name: str, geometry: ConeBeamGeometry, grid: Grid) -> AlignedScan:
    """The scan in the form that a backend takes; for "auto" in the form of all that it may choose.

    Raises:
        InputError: a scan that they cannot do.
    """
    if name == "auto":
        return RayTable.of(geometry, grid)
    try:
        return _REGISTRY[name].takes.of(geometry, grid)
    except InputError as error:
        raise InputError(f"backend {name!r}: {error}") from error


def make_backend(name: str, scan: AlignedScan) -> Backend:
    """Import and build the backend of this name (compilers and drivers are imported only then).

    Raises:
        InputError: if its package cannot be imported or finds no device, or a volume or a detector is too large for it.
    """
    entry = _REGISTRY[name]
    try:
        module = import_module(f"{__name__}.{entry.module}")
    except ImportError as error:
        raise InputError(
            f"backend {name!r}: found no usable {entry.package} ({error}), expected it to be installed: {entry.install}"
        ) from error
    return getattr(module, entry.cls)(scan)
