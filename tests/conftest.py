# SPDX-License-Identifier: Apache-2.0
"""Shared fixtures."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def data_folder() -> Path:
    """Small real volumes, see `tests/data/README.md`."""
    return Path(__file__).parent / "data"
