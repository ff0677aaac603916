# SPDX-License-Identifier: Apache-2.0
"""Which scans each projector takes, and that it follows their vectors: tables, refusals, other projects' arguments."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector, backends
from monai_iscs.operators.backends.scan_forms import HelixScan, RTKScan
from monai_iscs.operators.vectors import VECTORS

DOCS = Path(__file__).parents[2] / "docs" / "architecture.md"
GRID = Grid.centered((22, 20, 18), (9.0, 9.0, 9.0), center=(12.0, -20.0, 15.0))
VIEWS = 6
CORNERS = ((-1, -1), (1, -1), (-1, 1))  # of a detector, along u and v
NUMBERS = np.random.default_rng(0).normal(size=(8, VIEWS))
SCANNER = {
    "source_to_isocenter": 700.0,
    "source_to_detector": 1200.0,
    "detector_shape": (26, 32),
    "detector_pitch": (14.0, 12.0),
}


def circle(**changes) -> ConeBeamGeometry:
    return ConeBeamGeometry.circular(**{"views": VIEWS, **SCANNER, **changes})


def helix(rise: float = 60.0) -> ConeBeamGeometry:
    """Two turns."""
    angles = 0.3 + np.linspace(-2, 2, VIEWS) * math.pi
    scan, up = circle(views=None, angles=angles), rise * angles[:, None] / (2 * math.pi) * [0, 0, 1]
    return replace(scan, source=scan.source + up, detector=scan.detector + up)


def nine_parameters(tilt: float) -> ConeBeamGeometry:
    """Flexing by some mm, and leaning by `tilt` degrees."""
    return ConeBeamGeometry.from_rtk(
        source_to_isocenter=700 + 3 * NUMBERS[0],
        source_to_detector=1200 + 3 * NUMBERS[1],
        gantry_angle=60 * np.arange(VIEWS) + NUMBERS[2],
        projection_offset=(40 + 5 * NUMBERS[3], 5 * NUMBERS[4]),
        source_offset=(5 * NUMBERS[5], 5 * NUMBERS[6]),
        out_of_plane_angle=tilt * NUMBERS[7],
        in_plane_angle=tilt * NUMBERS[6],
        detector_shape=SCANNER["detector_shape"],
        detector_pitch=SCANNER["detector_pitch"],
    )


def pixels(*, view: int = 4) -> ConeBeamGeometry:
    return replace(circle(), u=circle().u * np.where(np.arange(VIEWS) == view, 1.1, 1)[:, None])


# by the rows of the table in the docs
SCANS = {
    "circle, any first angle and sense": (circle(first_angle=17, clockwise=True), GRID),
    "arc": (circle(arc=140), GRID),
    "helix": (helix(), GRID),
    "detector offset (half-fan)": (circle(detector_offset=(3.0, 90.0)), GRID),
    "own offsets and distances in each view": (nine_parameters(0.0), GRID),
    "rows that fall": (replace(circle(), v=-circle().v), GRID),
    "tilted detectors": (nine_parameters(3.0), GRID),
    "pixels of another size in some views": (pixels(), GRID),
    "pixels that are no rectangles": (replace(circle(), u=circle().u + 0.1 * circle().v), GRID),
    "rays steeper than 35°": (circle(detector_pitch=(80.0, 12.0)), Grid.centered((22, 20, 300), (9.0, 9.0, 9.0))),
    "voxels that are no cubes": (circle(), Grid.centered((22, 20, 18), (9.0, 8.0, 7.0))),
}
UPRIGHT = [name for name in SCANS if "tilted" not in name and "rectangles" not in name and "steeper" not in name]


def table() -> dict[str, dict[str, str]]:
    """The cells of the docs' table, by row and column."""
    lines = [line for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    begin = next(index for index, line in enumerate(lines) if line.startswith("| scan |"))
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[begin:]]
    columns = [[name.strip().strip("`") for name in cell.split(",")] for cell in cells[0][1:]]
    end = next((index for index, row in enumerate(cells) if index and len(row) != len(cells[0])), len(cells))
    return {
        row[0]: {name: cell for names, cell in zip(columns, row[1:], strict=True) for name in names}
        for row in cells[2:end]
    }


@pytest.mark.parametrize("scan", SCANS)
def test_the_docs_say_what_is_taken(scan):
    """Refusals name the backend, what was found and what is expected, before any package is imported."""
    said = table()[scan]
    assert set(said) == set(backends.BACKENDS) - {"auto"}
    for backend, cell in said.items():
        if cell == "yes":
            ConeBeamProjector(*SCANS[scan], backend=backend)
            continue
        assert cell == "no", backend
        with pytest.raises(InputError, match=rf"^backend '{backend}': (geometry|grid): found .*, expected ") as refused:
            ConeBeamProjector(*SCANS[scan], backend=backend)
        assert "\n" not in str(refused.value)


def test_the_docs_say_which_adjoints_are_exact():
    for backend, cell in table()["exact adjoint"].items():
        assert (cell == "yes") is ConeBeamProjector(circle(), GRID, backend=backend).matched


@pytest.mark.parametrize(
    ("backend", "scan", "message"),
    [
        ("numba", nine_parameters(3.0), r"tilted by up to .* degrees, in view \d, expected u in the plane"),
        ("diffct", pixels(), r"pixels of 14 x 12 mm in view 0 and of 14 x 13\.2 mm in view 4, expected one size"),
        ("rtk", pixels(view=2), "pixels of 14 x 12 mm in view 0 and of .* in view 2, expected one size for RTK"),
        ("torch-radon", nine_parameters(0.0), r"found \w+ of view \d .* mm off a circle or helix about the z axis"),
        ("torch-radon", circle(detector_offset=(0.0, 3.0)), r"a detector offset \(v, u\) of \(0\.0, 3\.0\) mm in all"),
        ("torch-radon", circle(views=None, angles=np.linspace(0, 6, 4097)), "4097 views, expected up to 4096"),
    ],
)
def test_refusals_name_view_and_property(backend, scan, message):
    with pytest.raises(InputError, match=rf"^backend '{backend}': .*{message}"):
        ConeBeamProjector(scan, GRID, backend=backend)


def body(grid: Grid) -> torch.Tensor:
    """A smooth body off the centre that ends inside the grid."""
    x, y, z = (torch.linspace(-1, 1, n) for n in grid.shape)
    radius = ((x[:, None, None] - 0.1) / 0.8) ** 2 + ((y[:, None] + 0.1) / 0.7) ** 2 + ((z - 0.1) / 0.7) ** 2
    return torch.exp(-2 * radius) * (radius < 1)


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("scan", UPRIGHT)
@pytest.mark.parametrize(
    ("backend", "package", "close", "close_back"),
    [("rtk", "itk.RTKPython", 1e-6, 0.01), ("diffct", "diffct", 0.08, 0.3)],
)
def test_others_follow_the_vectors(needs, backend, package, close, close_back, scan):
    """RTK's Joseph is ours to rounding, but for rays along the border of the volume; diffct's voxels are constant."""
    if table()[scan][backend] == "no":
        pytest.skip("refused")
    needs(package)
    geometry, grid = SCANS[scan]
    A, numba = (ConeBeamProjector(geometry, grid, backend=name) for name in (backend, "numba"))
    x = body(grid)
    y = numba(x)
    seen, back = A(x), A.T(y)
    assert relative(seen, y) < close
    inner = (slice(1, -1),) * 3
    assert relative(back[inner], numba.T(y)[inner]) < close_back
    assert float((seen.double() * y).sum()) == pytest.approx(float((x.double() * back).sum()), rel=1e-5)


@pytest.mark.parametrize(("backend", "package", "close"), [("rtk", "itk.RTKPython", 0.02), ("diffct", "diffct", 0.05)])
@pytest.mark.parametrize("scan", [nine_parameters(4.0), replace(nine_parameters(4.0), v=-nine_parameters(4.0).v)])
def test_tilted_detectors(phantoms, needs, backend, package, close, scan):
    """Ours cannot; samples along each ray can."""
    needs(package)
    scan = scan.part(0, 2)
    x = body(GRID)
    found = ConeBeamProjector(scan, GRID, backend=backend)(x)
    assert relative(found, phantoms.sample_rays(x, scan, GRID, step=2.0)) < close


def rays_of(scan: ConeBeamGeometry) -> np.ndarray:
    """(views, 4, 3): source and three corners of the detector, which determine all rays."""
    half_v, half_u = ((n - 1) / 2 * step for n, step in zip(scan.detector_shape, (scan.v, scan.u), strict=True))
    return np.stack(
        [scan.source, *(scan.detector + b * half_v + a * half_u for a, b in ((-1, -1), (1, -1), (-1, 1)))], 1
    )


TURNED = Grid((20, 20, 20), np.array([[0, -9.0, 0, 40], [9.0, 0, 0, -50], [0, 0, -9.0, 60], [0, 0, 0, 1]]))


@pytest.mark.parametrize("grid", [GRID, TURNED], ids=["plain", "turned"])
@pytest.mark.parametrize("scan", [circle(), nine_parameters(0.0), nine_parameters(3.0), helix()])
def test_nine_parameters_make_the_same_rays(scan, grid):
    """Of `AddProjection`, from the middle of the grid."""
    form = RTKScan.of(scan, grid)
    values = list(form.parameters.values())
    made = ConeBeamGeometry.from_rtk(
        source_to_isocenter=values[0],
        source_to_detector=values[1],
        gantry_angle=values[2],
        projection_offset=(values[3], values[4]),
        out_of_plane_angle=values[5],
        in_plane_angle=values[6],
        source_offset=(values[7], values[8]),
        detector_shape=scan.detector_shape,
        detector_pitch=np.abs(form.pitch),
    )
    made = replace(made, v=made.v * np.sign(form.pitch[0]))
    expected = rays_of(scan.along(grid)) - np.array(grid.straight.center)
    np.testing.assert_allclose(rays_of(made), expected, atol=1e-9)


@pytest.mark.parametrize("scan", [circle(), circle(arc=100, clockwise=True), helix(), helix(-25.0)])
def test_a_helix_makes_the_same_rays(scan):
    """As torch-radon computes them: about its origin, from a quarter turn later, rising with the angle."""
    path = HelixScan.of(scan, GRID).helix
    t = path.angles + np.pi / 2
    rows, columns = scan.detector_shape
    zero = np.zeros_like(t)
    z = -path.rise / 4 + path.rise * t / (2 * np.pi)
    behind = path.source_to_detector - path.source_to_isocenter

    def turned(x: float, y: float, up: float) -> np.ndarray:
        return np.stack([x * np.cos(t) - y * np.sin(t), x * np.sin(t) + y * np.cos(t), z + up + zero], 1)

    half_v, half_u = (rows - 1) / 2 * path.detector_pitch[0], (columns - 1) / 2 * path.detector_pitch[1]
    corners = [turned(a * half_u, behind, b * half_v) for a, b in CORNERS]
    made = np.stack([turned(0, -path.source_to_isocenter, 0), *corners], 1) + np.array(path.center)
    np.testing.assert_allclose(made, rays_of(scan), atol=1e-9)


@pytest.mark.parametrize("scan", [nine_parameters(3.0), helix(), pixels()])
def test_astra_takes_the_vectors(needs, scan):
    """Its CPU part keeps them; its projector needs a GPU."""
    needs("astra")
    import astra

    vectors = np.concatenate([getattr(scan, name) for name in VECTORS], 1)
    made = astra.create_proj_geom("cone_vec", *scan.detector_shape, vectors)
    index = astra.data3d.create("-proj3d", made, 0.0)
    try:
        kept = astra.data3d.get_geometry(index)
        assert astra.data3d.get(index).shape == (scan.detector_shape[0], VIEWS, scan.detector_shape[1])
    finally:
        astra.data3d.delete(index)
    np.testing.assert_allclose(kept["Vectors"], vectors, atol=1e-9)


@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_ours_take_rows_that_fall(backend):
    """In all views, or in some."""
    if backend == "triton":
        pytest.importorskip("triton")
    here = "cuda" if backend == "triton" and torch.cuda.is_available() else "cpu"
    grid = Grid.centered((6, 5, 8), (24.0, 30.0, 20.0))
    scan = circle(views=3, detector_shape=(9, 8), detector_pitch=(30.0, 40.0), first_angle=20)
    numbers = torch.Generator().manual_seed(0)
    x, y = torch.rand(grid.shape, generator=numbers), torch.rand(scan.projection_shape, generator=numbers)
    rising = ConeBeamProjector(scan, grid, backend="numba")
    for falls in (np.array([True] * 3), np.array([False, True, False])):
        mixed = replace(scan, v=np.where(falls[:, None], -scan.v, scan.v))
        flip = torch.from_numpy(falls)[:, None, None]
        A = ConeBeamProjector(mixed, grid, backend=backend)
        assert relative(A(x.to(here)).cpu(), torch.where(flip, rising(x).flip(1), rising(x))) < 1e-6
        assert relative(A.T(y.to(here)).cpu(), rising.T(torch.where(flip, y.flip(1), y))) < 1e-6
