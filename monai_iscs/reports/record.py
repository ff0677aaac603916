# SPDX-License-Identifier: Apache-2.0
"""The record of a run: the content of `run.json`."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import torch

PACKAGES = ("monai_iscs", "monai", "numba")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def peak_memory_mb() -> float | None:
    """Largest resident memory of this process so far, MB; None if the system doesn't report it (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


class RunRecord:
    """Collects the settings, times and memory of a run.

    Args:
        settings: every setting of the run, as JSON values.
        seed: seed of its random numbers.
        device: device that it ran on.

    Example:
        >>> record = RunRecord({"method": "dds", "steps": 30}, seed=0, device="cpu")
        >>> with record.stage("reconstruct"):
        ...     volume = inferer(measurement, prior)
        >>> record.as_dict()["seconds"]
        {'reconstruct': 41.2}
    """

    def __init__(self, settings: Mapping[str, Any], *, seed: int, device: str | torch.device) -> None:
        self.settings = dict(settings)
        self.seed = seed
        self.device = torch.device(device)
        self.seconds: dict[str, float] = {}
        self._peak = 0.0  # of finished stages: the count may restart within one

    def _gpu_memory(self) -> float:
        """Largest memory on the GPU since the count began, MB."""
        return torch.cuda.max_memory_allocated(self.device) / 2**20 if self.device.type == "cuda" else 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage of the run, also one that fails; using a name again adds to it."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
            self._peak = max(self._peak, self._gpu_memory())

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON values: settings, seed, versions, device, seconds per stage, peak memory in MB."""
        cuda = self.device.type == "cuda"
        chip = torch.cuda.get_device_name(self.device) if cuda else platform.processor() or platform.machine()
        return {
            "settings": self.settings,
            "seed": self.seed,
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,  # includes the build, unlike the package's metadata
                **{name: _version(name) for name in PACKAGES},
            },
            "device": str(self.device),
            "device_name": chip,
            "threads": torch.get_num_threads(),
            "seconds": {name: round(seconds, 3) for name, seconds in self.seconds.items()},
            "peak_memory_mb": peak_memory_mb(),
            "peak_gpu_memory_mb": max(self._peak, self._gpu_memory()) if cuda else None,
        }
