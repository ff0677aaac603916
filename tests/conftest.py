# SPDX-License-Identifier: Apache-2.0
"""Shared fixtures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():  # Triton reads it when it is first imported, and so do the projector's backends
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture
def data_folder() -> Path:
    """Small real volumes, see `tests/data/README.md`."""
    return Path(__file__).parent / "data"
