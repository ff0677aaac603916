# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os
import subprocess
import sys

import numpy as np
import pytest
from numba import prange

from monai_iscs.operators.backends.compiled import compiled

LOADER = """
import sys

import torch
from torch.utils.data import DataLoader
from monai_iscs.classical import fdk
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector
from monai_iscs.scans import Measurement

grid = Grid.centered((12, 12, 4), (20.0, 20.0, 20.0))
A = ConeBeamProjector(ConeBeamGeometry.paper(grid, views=5), grid, backend="numba")

class Scans(torch.utils.data.Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, item):
        y = A(torch.rand(grid.shape, generator=torch.Generator().manual_seed(item)))
        return y, A.T(y), fdk(Measurement(y[None], A))

torch.rand(512, 512) @ torch.rand(512, 512)  # starts PyTorch's threads
torch.rand(1 << 20).exp()
if sys.argv[1] == "numba":
    Scans()[0]
workers = list(DataLoader(Scans(), num_workers=2, multiprocessing_context="fork"))
here = list(DataLoader(Scans()))
for expected, found in zip(here, workers, strict=True):
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-4)
"""

STARTED = """
import torch
from numba.core.caching import _CacheLocator

def refuse(*_):
    raise PermissionError("read-only")

_CacheLocator.ensure_cache_path = refuse
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector

grid = Grid.centered((4, 4, 8), (20.0, 20.0, 20.0))
geometry = ConeBeamGeometry.paper(grid, views=1)
assert ConeBeamProjector(geometry, grid, backend="numba")(torch.ones(grid.shape)).max() > 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes aren't forked here")
@pytest.mark.parametrize("started", ["numba", "torch"])
def test_forked_workers_of_a_loader_end_and_agree(started):
    """Threads that the parent has started, of numba or only of PyTorch, don't exist in its children."""
    done = subprocess.run(
        [sys.executable, "-c", LOADER, started],
        env=os.environ | {"NUMBA_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_starts_where_nothing_can_be_written():
    """As with a package of another user, for a user without a home (tests may run as root, who can write there)."""
    env = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", STARTED], env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr


def double(values: np.ndarray) -> None:
    for index in prange(len(values)):
        values[index] *= 2


def test_without_a_source_file():
    """Numba finds no folder for interactive code."""
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
