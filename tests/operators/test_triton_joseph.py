# SPDX-License-Identifier: Apache-2.0
"""Tests of Triton's kernels beside those of all backends (test_cone_beam.py)."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector, backends

pytest.importorskip("triton")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.cpu() - expected).double().norm() / expected.double().norm())


def both(geometry: ConeBeamGeometry, grid: Grid) -> tuple[float, float]:
    """The difference of Triton's forward and adjoint to numba's."""
    numba, triton = (ConeBeamProjector(geometry, grid, backend=name) for name in ("numba", "triton"))
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(numba.domain_shape, generator=generator), torch.rand(numba.range_shape, generator=generator)
    return relative(triton(x.to(DEVICE)), numba(x)), relative(triton.T(y.to(DEVICE)), numba.T(y))


@pytest.mark.parametrize(
    "options",
    [
        # more than one tile in every direction: 33 planes, 35 columns, 129 slices, 130 rows
        {"volume_shape": (33, 35, 129), "voxel_spacing": (5.0, 5.0, 2.0), "detector_shape": (130, 3), "angles": (0.4,)},
        # thick slices and a fine detector: many rows per voxel, most of them beyond the unrolled ones
        {"voxel_spacing": (10.0, 10.0, 120.0), "volume_shape": (6, 5, 2), "detector_pitch": (7.0, 12.0)},
        # a detector so wide that a fan steps along y, x and y again
        {
            "detector_pitch": (4.0, 180.0),
            "detector_shape": (9, 24),
            "voxel_spacing": (30.0, 30.0, 10.0),
            "angles": (0.1,),
        },
    ],
)
def test_agrees_with_numba(plain, options):
    setup = replace(plain, **{"volume_shape": (9, 8, 7), "angles": (0.2, 2.5), "detector_shape": (12, 9), **options})
    forward, adjoint = both(setup.geometry, setup.grid)
    assert 0 < forward < 1e-6
    assert 0 < adjoint < 1e-6


def test_agrees_with_numba_in_the_tiles_of_a_gpu(plain, monkeypatch):
    """Elsewhere the interpreter gets larger ones."""
    from monai_iscs.operators.backends import triton_joseph

    monkeypatch.setattr(triton_joseph, "WARPS", 4)
    monkeypatch.setattr(triton_joseph, "COLUMNS", 4)
    setup = replace(plain, volume_shape=(9, 6, 40), voxel_spacing=(20.0, 25.0, 5.0), angles=(0.9,))
    setup = replace(setup, detector_shape=(40, 10), detector_pitch=(9.0, 36.0))
    forward, adjoint = both(setup.geometry, setup.grid)
    assert 0 < forward < 1e-6
    assert 0 < adjoint < 1e-6


def test_positions_are_exact_far_from_the_origin():
    """A thousand slices: float32 positions would be wrong by 3e-5 of a voxel."""
    geometry = ConeBeamGeometry.circular(
        views=1,
        first_angle=31.0,
        source_to_isocenter=700.0,
        source_to_detector=1200.0,
        detector_shape=(1024, 2),
        detector_pitch=(0.7, 60.0),
    )
    assert max(both(geometry, Grid.centered((4, 4, 1024), (40.0, 40.0, 0.4)))) < 3e-7


def test_rays_that_miss_the_volume(plain):
    setup = replace(plain, volume_shape=(3, 3, 1), angles=(0.2,), detector_shape=(2, 2), detector_offset=(400.0, 500.0))
    A = setup.projector("triton")
    assert not A(torch.ones(A.domain_shape, device=DEVICE)).any()
    assert not A.T(torch.ones(A.range_shape, device=DEVICE)).any()


def test_source_beside_the_volume(plain):
    setup = replace(plain, volume_shape=(3, 3, 3), voxel_spacing=(320.0, 320.0, 2.0))
    with pytest.raises(InputError, match="grid: found a volume less than a voxel from the source"):
        setup.projector("triton")(torch.zeros(setup.volume_shape, device=DEVICE))


def test_auto_takes_triton_on_the_gpu_where_it_is_installed(monkeypatch):
    assert backends.choose_backend("auto", torch.device("cuda", 1)) == "triton"
    monkeypatch.setattr(backends, "find_spec", lambda package: None if package == "triton" else True)
    with pytest.warns(UserWarning, match=r"times slower: pip install triton \(Linux\) is missing"):
        assert backends.choose_backend("auto", torch.device("cuda")) == "torch"


def test_without_what_compiles_its_launcher_auto_takes_the_portable_backend(monkeypatch):
    for name in ("CC", "CPATH", "C_INCLUDE_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(backends.shutil, "which", lambda name: None)
    with pytest.warns(UserWarning, match="a C compiler .* is missing"):
        assert backends.choose_backend("auto", torch.device("cuda")) == "torch"
    monkeypatch.setenv("CC", "/opt/cc")
    monkeypatch.setattr(backends.sysconfig, "get_paths", lambda scheme: {"include": "/nowhere"})
    with pytest.warns(UserWarning, match=r"/nowhere/Python\.h .* is missing"):
        assert backends.choose_backend("auto", torch.device("cuda")) == "torch"
    monkeypatch.setenv("CPATH", "/opt/include")
    assert backends.choose_backend("auto", torch.device("cuda")) == "triton"


def test_cpu_tensors_are_refused_without_the_interpreter(monkeypatch, plain):
    entry = backends._REGISTRY["triton"]._replace(devices=frozenset({"cuda"}))
    monkeypatch.setitem(backends._REGISTRY, "triton", entry)
    with pytest.raises(InputError, match="'triton': found a tensor on cpu, expected one on cuda"):
        plain.projector("triton")(torch.zeros(plain.volume_shape))


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from monai_iscs.operators.backends import triton_kernels as kernels

double = {"lateral", "reach", "height", "path", "advance", "growth", "level"}
whole, sizes = dict.fromkeys(("segment", "nearest"), "*i32"), dict.fromkeys((*kernels.SIZES, "entries"), "i32")
types = {"axis": "*u8", **whole, **dict.fromkeys(double, "*fp64"), **sizes}
tiles = {"AXIS": 1, "COLUMNS": 4, "LAYERS": 4, "WARPS": 4, "TAPS": 3}
for name, constants in (
    ("project", {"LAYERS": 4, "WARPS": 4}),
    ("weigh", {"SIDE": 32}),
    ("backproject", {**tiles, "CURVED": False}),
    ("backproject", {**tiles, "CURVED": True}),
):
    kernel = getattr(kernels, name)
    signature = {a: "constexpr" if a in constants else types.get(a, "*fp32") for a in kernel.arg_names}
    source = ASTSource(kernel, signature, constants)
    code = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4}).asm
    assert "convert_layout" not in code["ttgir"] or name == "weigh", "a tile changes its layout"
    assert ".local" not in code["ptx"], "registers are spilled"
"""


def test_kernels_compile_for_an_h100_without_one(tmp_path, monkeypatch):
    """The interpreter accepts what the compiler refuses. No tile changes threads, which would cost shared memory."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
