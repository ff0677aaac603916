# SPDX-License-Identifier: Apache-2.0
"""A truth and a result to measure."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def reference() -> torch.Tensor:
    """(20, 24, 16) blobs in [0, 1], all slices different; air in the first two slices of every axis."""
    axes = torch.meshgrid(*(torch.linspace(0, 1, n) for n in (20, 24, 16)), indexing="ij")
    volume = (torch.sin(9 * axes[0] + 2 * axes[2]) * torch.cos(7 * axes[1]) + axes[2] + 1) / 3
    volume[:2], volume[:, :2], volume[:, :, :2] = 0, 0, 0
    return volume


@pytest.fixture
def reconstruction(reference: torch.Tensor) -> torch.Tensor:
    """The truth with some noise and an offset."""
    generator = torch.Generator().manual_seed(0)
    return reference + 0.03 * torch.randn(reference.shape, generator=generator) + 0.01
