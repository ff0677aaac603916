# SPDX-License-Identifier: Apache-2.0
"""benchmarks/projector_gpu.py, on a tiny scan and the CPU."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_iscs.operators.backends.rays import RayTable


@pytest.fixture(scope="module")
def benchmark():
    path = Path(__file__).parents[2] / "benchmarks" / "projector_gpu.py"
    spec = spec_from_file_location("projector_gpu", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_report(benchmark, plain, monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.setattr(benchmark, "PEERS", ("triton", "torch", "torch-radon"))
    setup = replace(plain, volume_shape=(3, 4, 2), angles=(0.3,), detector_shape=(2, 3), detector_pitch=(60.0, 60.0))
    setup = replace(setup, voxel_spacing=(50.0, 40.0, 60.0))
    if torch.cuda.is_available():
        pytest.skip("Triton isn't interpreted here")
    lines = list(benchmark.measure(torch.device("cpu"), 1, setup.geometry, setup.grid, copied=1000))
    rows = {
        cells[1]: cells[2:] for cells in ([cell.strip() for cell in line.split("|")] for line in lines) if cells[1:]
    }
    for name in ("triton", "torch"):
        forward, adjoint, pair, mismatch, *distances = map(float, rows[name][:6])
        assert pair == pytest.approx(forward + adjoint, rel=0.02)
        assert max(mismatch, *distances) < 1e-6
    assert rows["torch-radon"][0].startswith("not run: backend 'torch-radon': grid: found voxels of")
    assert any("GB/s" in line for line in lines)
    (ratio,) = (line for line in lines if line.startswith("- triton: "))
    assert float(ratio.split()[2]) == pytest.approx(float(rows["torch"][2]) / float(rows["triton"][2]), rel=0.02)


def test_work_is_counted(benchmark, plain):
    """Forward samples: with one slice's worth of ones far wider than the rays, each sample adds the path length."""
    setup = replace(plain, angles=(0.0, 0.3), volume_shape=(9, 40, 3), voxel_spacing=(10.0, 10.0, 100.0))
    rays = RayTable.of(setup.geometry, setup.grid)
    crossings = sum(
        np.count_nonzero(np.abs(rays.lateral[view, u, 0] + rays.lateral[view, u, 1] * np.arange(9) - 19.5) < 20.5)
        for view in range(2)
        for u in range(32)
    )
    samples, visits = benchmark.work(rays)
    assert not rays.axis.any()
    assert samples == 28 * crossings  # three thick slices: all rows meet them
    assert visits == 1.25 * 3 * crossings


def test_peer_that_breaks(benchmark, plain, monkeypatch):
    """An error of a peer only loses its row; one of Triton also its comparison with the floor."""
    monkeypatch.setattr(benchmark, "PEERS", ("triton", "torch"))
    monkeypatch.setattr(benchmark, "LONG_ENOUGH", 0.0)
    floors = {"memory": 1.0, "forward": 1.0, "adjoint": 1.0}
    monkeypatch.setattr(benchmark, "floor_milliseconds", lambda *_: floors)
    row = benchmark.peer_row

    def broken(name, *arguments):
        if name == "triton":
            raise RuntimeError("driver | gone\nfor good")
        return row(name, *arguments)

    monkeypatch.setattr(benchmark, "peer_row", broken)
    setup = replace(plain, volume_shape=(3, 4, 2), angles=(0.3,), detector_shape=(2, 3), detector_pitch=(60.0, 60.0))
    setup = replace(setup, voxel_spacing=(50.0, 40.0, 60.0))
    lines = list(benchmark.measure(torch.device("cpu"), 1, setup.geometry, setup.grid, copied=10))
    assert "| triton | not run: RuntimeError: driver / gone | | | | | |" in lines
    assert any(line.startswith("| torch | ") and "not run" not in line for line in lines)
    assert not any("times its floor" in line for line in lines)
