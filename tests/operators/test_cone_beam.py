# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector, GaussianSmoothing
from monai_iscs.solvers import conjugate_gradient

BACKENDS = ("numba", "torch", "triton")


@pytest.fixture(params=BACKENDS)
def backend(request):
    """The name; tensors are on the backend's device: for Triton the GPU, else the CPU of its interpreter."""
    if request.param == "triton":
        pytest.importorskip("triton")
    with torch.device("cuda" if request.param == "triton" and torch.cuda.is_available() else "cpu"):
        yield request.param


def interpreted(request) -> bool:
    """Triton's interpreter needs a tenth of a millisecond for each operation: it gets smaller sizes."""
    return "backend" in request.fixturenames and request.getfixturevalue("backend") == "triton"


@pytest.fixture
def setup(setup, request):
    """One oblique view, whose rays step along both axes."""
    return replace(setup, angles=setup.angles[1:2] or setup.angles) if interpreted(request) else setup


@pytest.fixture
def plain(plain, request):
    if not interpreted(request):
        return plain
    few = replace(plain, angles=plain.angles[1:3], volume_shape=(4, 5, 6), voxel_spacing=(48.0, 40.0, 30.0))
    return replace(few, detector_shape=(7, 8), detector_pitch=(56.0, 48.0))


def random_pair(A: ConeBeamProjector, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.rand(shape, generator=generator, device="cpu") for shape in (A.domain_shape, A.range_shape))
    return x.to(torch.get_default_device()), y.to(torch.get_default_device())


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).double().norm() / expected.double().norm())


def test_adjoint_is_the_transpose(setup, backend):
    A = setup.projector(backend)
    x, y = random_pair(A)
    Ax, Aty = A(x).double(), A.T(y).double()
    assert Ax.norm() > 0
    mismatch = abs((Ax * y).sum() - (x * Aty).sum()) / (Ax.norm() * y.double().norm())
    assert mismatch <= 1e-6


def test_adjoint_is_the_transpose_entry_by_entry(plain, backend):
    setup = replace(plain, volume_shape=(3, 4, 2), voxel_spacing=(50.0, 40.0, 60.0), detector_shape=(2, 3))
    setup = replace(setup, detector_pitch=(50.0, 60.0), angles=(0.7,))
    A = setup.projector(backend)
    forward = A(torch.eye(24).reshape(24, 3, 4, 2)).reshape(24, -1)
    adjoint = A.T(torch.eye(6).reshape(6, 1, 2, 3)).reshape(6, -1)
    assert (forward != 0).sum() > 30
    torch.testing.assert_close(forward, adjoint.T, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("backend", ["numba", "torch"], indirect=True)
@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(
    ("slices", "size", "height", "rows", "offset", "views"),
    [
        (1, 4.0, 20.0, 4, 34.0, 30),
        (1, 4.0, 20.0, 8, 34.0, 30),
        (3, 2.5, 40.0, 4, 70.0, 8),
        (24, 1.0, 90.0, 20, 180.0, 8),
    ],
)
def test_adjoint_of_a_slab_beside_the_plane_of_the_source(slices, size, height, rows, offset, views, side, backend):
    # its shadow moves across a low detector: at the first and last plane of voxels it may lie beside it
    affine = np.diag([4.0, 4.0, size, 1.0])
    affine[:3, 3] = (-118, -118, height if side > 0 else -height - size * (slices - 1))
    grid = Grid((60, 60, slices), tuple(map(tuple, affine)))
    geometry = ConeBeamGeometry.circular(
        source_to_isocenter=700,
        source_to_detector=1200,
        detector_shape=(rows, 32),
        detector_pitch=(1.0, 4.0),
        views=views,
        detector_offset=(side * offset, 0.0),
    )
    A = ConeBeamProjector(geometry, grid, backend=backend)
    x, y = random_pair(A)
    Ax, Aty = A(x).double(), A.T(y).double()
    assert Ax.norm() > 0
    assert abs((Ax * y).sum() - (x * Aty).sum()) / (Ax.norm() * y.double().norm()) <= 1e-6


def test_torch_backend_is_exact_in_float64(setup):
    A = setup.projector("torch")
    x, y = (t.double() for t in random_pair(A))
    Ax, Aty = A(x), A.T(y)
    assert Ax.dtype == Aty.dtype == torch.float64
    assert abs((Ax * y).sum() - (x * Aty).sum()) <= 1e-14 * Ax.norm() * y.norm()


def test_backends_are_the_same_operator(setup, backend):
    numba, A = (setup.projector(name) for name in ("numba", backend))
    x, y = random_pair(A)
    assert relative(A(x).cpu(), numba(x.cpu())) < 2e-6
    assert relative(A.T(y).cpu(), numba.T(y.cpu())) < 2e-6


def test_linear(plain, backend):
    A = plain.projector(backend)
    (x, _), (z, _) = random_pair(A, 1), random_pair(A, 2)
    assert relative(A(2 * x - 3 * z), 2 * A(x) - 3 * A(z)) < 1e-6
    assert A(torch.zeros_like(x)).abs().max() == 0


def test_batch_dimensions(plain, backend):
    A = plain.projector(backend)
    x = torch.rand(2, 2, *A.domain_shape)
    y = A(x)
    assert y.shape == (2, 2, *A.range_shape)
    assert torch.equal(y[1, 0], A(x[1, 0]))
    back = A.T(y)
    assert back.shape == x.shape
    torch.testing.assert_close(back[1, 0], A.T(y[1, 0]))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"voxel_spacing": (8.0, 6.5, 9.0), "volume_shape": (24, 30, 22)},
        {"curved": True, "source_shift": (12.0, -9.0, 5.0)},
    ],
)
def test_ellipsoids_within_the_voxelisation_floor(phantoms, plain, backend, options):
    """The error against closed-form integrals is at most 1.1 times that of brute-force sampling of the same voxels."""
    detector = {"detector_shape": (28, 32), "detector_pitch": (14.0, 12.0)}
    setup = replace(plain, **{"volume_shape": (28, 28, 28), "voxel_spacing": (7.0,) * 3, **detector, **options})
    setup = replace(setup, detector_offset=(5.0, -20.0), angles=(0.1, 0.9, 2.5, 4.4))
    ellipsoids = [
        phantoms.Ellipsoid(center=(5.0, -8.0, 3.0), semi_axes=(70.0, 55.0, 60.0), turn=0.4),
        phantoms.Ellipsoid(center=(20.0, 15.0, -10.0), semi_axes=(25.0, 18.0, 30.0), turn=-0.7, value=-0.6),
        phantoms.Ellipsoid(center=(-30.0, 0.0, 20.0), semi_axes=(15.0, 22.0, 12.0), value=0.9),
    ]
    here = torch.get_default_device()
    with torch.device("cpu"):
        volume, exact = phantoms.voxelise(ellipsoids, setup.grid), phantoms.line_integrals(ellipsoids, setup.geometry)
        floor = relative(phantoms.sample_rays(volume, setup.geometry, setup.grid, step=0.7), exact)
    error = relative(setup.projector(backend)(volume.to(here)).cpu(), exact)
    assert 0 < floor < 0.08
    assert error <= 1.1 * floor


@pytest.mark.parametrize(
    ("angle", "center", "expected_vu"),
    [
        # at angle 0 the source is on +x, u = +y and v = +z: (v, u) of the blob's shadow, magnified by 1200 / (700 - x)
        (0.0, (0.0, 50.0, 0.0), (0.0, 50 * 1200 / 700)),
        (0.0, (0.0, 0.0, 40.0), (40 * 1200 / 700, 0.0)),
        (0.0, (60.0, 50.0, 40.0), (40 * 1200 / 640, 50 * 1200 / 640)),
        (0.0, (-60.0, 50.0, 40.0), (40 * 1200 / 760, 50 * 1200 / 760)),
        # after a quarter turn, the source is on +y and u = -x
        (math.pi / 2, (50.0, 0.0, 0.0), (0.0, -50 * 1200 / 700)),
        (math.pi / 2, (50.0, 60.0, 40.0), (40 * 1200 / 640, -50 * 1200 / 640)),
        (-math.pi / 2, (50.0, 60.0, 40.0), (40 * 1200 / 760, 50 * 1200 / 760)),
    ],
)
@pytest.mark.parametrize("offset", [(0.0, 0.0), (24.0, -36.0)])
def test_axis_signs(phantoms, plain, backend, angle, center, expected_vu, offset):
    setup = replace(
        plain,
        angles=(angle,),
        voxel_spacing=(8.0, 8.0, 8.0),
        volume_shape=(24, 24, 24),
        volume_offset=(4.0, 0.0, -4.0),
        detector_offset=offset,
        detector_shape=(40, 40),
        detector_pitch=(14.0, 12.0),
    )
    blob = phantoms.voxelise([phantoms.Ellipsoid(center=center, semi_axes=(12.0, 12.0, 12.0))], setup.grid)
    shadow = setup.projector(backend)(blob.to(torch.get_default_device()))[0].double().cpu().numpy()
    v, u = (
        (np.arange(40) - 19.5) * pitch + shift
        for pitch, shift in zip(setup.detector_pitch, setup.detector_offset, strict=True)
    )
    found = (shadow.sum(1) @ v / shadow.sum(), shadow.sum(0) @ u / shadow.sum())
    assert found == pytest.approx(expected_vu, abs=2.0)


def test_clockwise_is_the_mirrored_rotation(plain, backend):
    """The other direction is the same scan of the volume mirrored in y, with u mirrored."""
    names = ("source_to_isocenter", "source_to_detector", "detector_shape", "detector_pitch")
    fields = {name: getattr(plain, name) for name in names}
    there, back = (
        ConeBeamProjector(ConeBeamGeometry.circular(views=5, clockwise=c, **fields), plain.grid, backend=backend)
        for c in (False, True)
    )
    x = random_pair(there)[0]
    assert relative(back(x.flip(1)), there(x).flip(2)) < 1e-5


def test_a_subset_of_views_gives_the_subset_of_projections(plain, backend):
    x = torch.rand(plain.volume_shape)
    subset = replace(plain, angles=plain.angles[1:6:2])
    full = plain.projector(backend)(x)
    assert torch.equal(subset.projector(backend)(x), full[1:6:2])


def test_length_of_a_central_ray(plain, backend):
    """The middle ray of a box of ones, lateral and upright hats summing to one, is as long as the box."""
    setup = replace(plain, angles=(0.0,), detector_shape=(1, 1), voxel_spacing=(10.0, 7.0, 9.0))
    y = setup.projector(backend)(torch.ones(setup.volume_shape))
    assert y.item() == pytest.approx(10.0 * plain.volume_shape[0], rel=1e-5)


def test_gradient_is_the_adjoint_of_the_residual(plain, backend):
    A = plain.projector(backend)
    x, y = random_pair(A)
    x.requires_grad_()
    (0.5 * (A(x) - y).square().sum()).backward()
    assert torch.equal(x.grad, A.T(A(x.detach()) - y))
    y.requires_grad_()
    (0.5 * A.T(y).square().sum()).backward()
    assert torch.equal(y.grad, A(A.T(y.detach())))


def test_gradients_to_second_order(plain):
    setup = replace(plain, volume_shape=(3, 4, 2), voxel_spacing=(50.0, 40.0, 60.0), detector_shape=(2, 3))
    setup = replace(setup, detector_pitch=(60.0, 70.0), angles=plain.angles[:2])
    A = setup.projector("torch")
    x = torch.rand(setup.volume_shape, dtype=torch.float64, requires_grad=True)
    y = torch.rand(setup.projection_shape, dtype=torch.float64, requires_grad=True)
    for f, point in ((A, x), (A.T, y)):
        assert torch.autograd.gradcheck(lambda t, f=f: f(0.01 * t), point)
        assert torch.autograd.gradgradcheck(lambda t, f=f: f(0.01 * t).square(), point)


def test_deterministic(plain, backend):
    A = plain.projector(backend)
    x, y = random_pair(A)
    assert torch.equal(A(x), A(x))
    assert torch.equal(A.T(y), A.T(y))


def test_result_does_not_depend_on_the_number_of_threads(plain):
    numba = pytest.importorskip("numba")
    A = plain.projector("numba")
    x, y = random_pair(A)
    several = (A(x), A.T(y))
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        assert torch.equal(A(x), several[0])
        assert torch.equal(A.T(y), several[1])
    finally:
        numba.set_num_threads(before)


def test_input_is_left_alone_and_its_layout_does_not_matter(plain, backend):
    A = plain.projector(backend)
    x = torch.rand(A.domain_shape[::-1])
    before = x.clone()
    y = A(x.permute(2, 1, 0))
    assert torch.equal(x, before)
    assert torch.equal(y, A(x.permute(2, 1, 0).contiguous()))


def test_nan_stays_visible(plain, backend):
    A = plain.projector(backend)
    assert A(torch.full(A.domain_shape, math.nan)).isnan().any()


def test_auto_takes_numba_on_the_cpu(plain):
    x = torch.rand(plain.volume_shape)
    assert torch.equal(plain.projector()(x), plain.projector("numba")(x))


def test_named_backend_refuses_a_device_it_cannot_use(plain):
    with pytest.raises(InputError, match=r"'numba': found a tensor on meta, expected one on cpu"):
        plain.projector("numba")(torch.rand(plain.volume_shape, device="meta"))


def test_unknown_backend(plain):
    with pytest.raises(
        InputError, match=r"backend: found 'cuda', expected one of auto, numba, triton, torch, diffct, rtk, astra"
    ):
        plain.projector("cuda")


def test_wrong_shapes_name_found_and_expected(plain):
    A = plain.projector()
    with pytest.raises(InputError, match=r"ConeBeamProjector's adjoint: found shape \(6, 28, 32\).*\(7, 28, 32\)"):
        A.T(torch.rand(6, 28, 32))
    with pytest.raises(InputError, match=r"the input of ConeBeamProjector: found shape \(20, 20\).*\(20, 20, 20\)"):
        (0.052 * A)(torch.rand(20, 20))
    with pytest.raises(InputError, match="the input of ConeBeamProjector's adjoint: found shape"):
        (0.052 * A).T(torch.rand(20, 20))


def test_smooth_corrections_leave_no_sampling_pattern_in_thin_slices():
    """Slices of 1 mm under detector rows 2.3 mm apart: a correction without smoothing shows the rows in the volume."""
    grid = Grid.centered((32, 32, 16), (12.0, 12.0, 1.0))
    paper = ConeBeamGeometry.paper(grid, views=8)
    projector = ConeBeamProjector(replace(paper, v=paper.v * 4 / 16), grid)
    assert projector.resolution[2] == pytest.approx(4.0 * 700 / 1200)
    x, y, _ = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in grid.shape), indexing="ij")
    truth = ((x / 0.7) ** 2 + (y / 0.5) ** 2 < 1).float()
    estimate = 0.9 * truth

    def pattern(preconditioner):
        corrected = conjugate_gradient(
            projector.normal, projector.T(projector(truth)), estimate, iterations=5, preconditioner=preconditioner
        )
        return float(corrected.diff(dim=2)[..., 4:11].abs().mean()), float((corrected - truth).norm())

    free, smooth = pattern(None), pattern(GaussianSmoothing(grid.shape, std=1.5, axis=2).normal)
    assert smooth[0] < 0.3 * free[0]
    assert smooth[1] < free[1]
