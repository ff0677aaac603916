# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import monai_iscs
from monai_iscs.operators.backends.compiled import compiled

LOADER = """
import torch
from torch.utils.data import DataLoader
from monai_iscs.baselines import fdk
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector

geometry = ConeBeamGeometry.paper((12, 12, 4), (20.0, 20.0, 20.0), views=5)
A = ConeBeamProjector(geometry, backend="numba")

class Scans(torch.utils.data.Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, item):
        y = A(torch.rand(geometry.volume_shape, generator=torch.Generator().manual_seed(item)))
        return y, A.T(y), fdk(y, geometry)

here = list(DataLoader(Scans()))
workers = list(DataLoader(Scans(), num_workers=2, multiprocessing_context="fork"))
for expected, found in zip(here, workers, strict=True):
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-4)
"""

STARTED = """
import torch, monai_iscs
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector

geometry = ConeBeamGeometry.paper((4, 4, 2), (20.0, 20.0, 20.0), views=1)
assert ConeBeamProjector(geometry, backend="numba")(torch.ones(geometry.volume_shape)).max() > 0
print(monai_iscs.__file__)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes aren't forked here")
def test_forked_workers_of_a_loader_end_and_agree():
    """The threads of numba, which the parent has started, aren't in its children."""
    done = subprocess.run(
        [sys.executable, "-c", LOADER],
        env=os.environ | {"NUMBA_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_starts_where_nothing_can_be_written():
    """A package that belongs to another user, in the hands of one without a home."""
    folder = Path(tempfile.mkdtemp())
    try:
        copy = shutil.copytree(
            Path(monai_iscs.__file__).parent, folder / "monai_iscs", ignore=shutil.ignore_patterns("__pycache__")
        )
        for path in (folder, copy, *copy.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        root = {"user": 65534, "group": 65534} if os.geteuid() == 0 else {}  # root may write everywhere
        env = {
            name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "XDG_", "MPL", "COV_"))
        }
        env |= {"HOME": "/nonexistent", "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
        options = {"env": env, "cwd": folder, "capture_output": True, "text": True, "timeout": 300, **root}
        try:
            subprocess.run([sys.executable, "-c", "import numba, torch"], check=True, **options)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("another user cannot read this Python")
        done = subprocess.run([sys.executable, "-c", STARTED], check=False, **options)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip().startswith(str(copy))
        assert not list(folder.rglob("__pycache__"))
    finally:
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)
        shutil.rmtree(folder)


def double(values: np.ndarray) -> None:
    for index in range(len(values)):
        values[index] *= 2


def test_without_a_source_file():
    """Numba finds no folder for what was typed in."""
    names = {}
    exec(compile("def double(values):\n    values[:] *= 2", "<typed>", "exec"), names)
    values = np.ones(3)
    compiled()(names["double"])(values)
    assert values.tolist() == [2, 2, 2]


def test_disk_that_is_full(monkeypatch):
    def save(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", save)
    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.load", lambda *_: None)
    values = np.ones(3)
    compiled()(double)(values)
    assert values.tolist() == [2, 2, 2]
