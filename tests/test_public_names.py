# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys

import pytest

import monai_iscs


@pytest.mark.parametrize("name", monai_iscs.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(monai_iscs, name).__module__.startswith("monai_iscs.")
    assert name in dir(monai_iscs)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'TrilinearNoise'"):
        monai_iscs.TrilinearNoise  # noqa: B018


def test_importing_the_package_alone_is_quick() -> None:
    """It imports neither PyTorch nor MONAI."""
    code = "import sys, monai_iscs; sys.exit(any(name in sys.modules for name in ('torch', 'monai', 'numba')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
