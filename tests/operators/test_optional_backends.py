# SPDX-License-Identifier: Apache-2.0
"""Projectors of other projects: the contract if they are installed, else the arguments that they get."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.operators import backends
from monai_iscs.solvers import check_matched

OPTIONAL = {"diffct": True, "rtk": True, "astra": False, "torch-radon": False}  # name: matched


@pytest.fixture
def skewed(plain):
    """Offsets everywhere; small enough for projectors that are slow on a CPU."""
    return replace(
        plain,
        volume_shape=(32, 28, 24),
        voxel_spacing=(4.0, 4.5, 5.0),
        volume_offset=(12.0, -31.0, 22.0),
        detector_offset=(-17.0, 41.0),
        angles=(0.3, 2.0),
    )


def blob(setup) -> torch.Tensor:
    """A smooth body off the centre."""
    x, y, z = (torch.linspace(-1, 1, n) for n in setup.volume_shape)
    radius = ((x[:, None, None] - 0.2) / 0.6) ** 2 + ((y[:, None] + 0.25) / 0.5) ** 2 + ((z - 0.1) / 0.5) ** 2
    return torch.exp(-2 * radius)


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.cpu() - expected).double().norm() / expected.double().norm())


@pytest.mark.parametrize("name", OPTIONAL)
def test_contract_of_those_installed(skewed, needs, name):
    if name == "torch-radon":
        skewed = replace(skewed, voxel_spacing=(4.5,) * 3, detector_offset=(0.0, 0.0))
    entry = backends._REGISTRY[name]
    needs(entry.package)
    device = "cpu" if "cpu" in entry.devices and name != "astra" else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    A = skewed.projector(name)
    x = blob(skewed).to(device)
    Ax = A(x)
    numba = skewed.projector("numba")
    expected = numba(x.cpu())
    assert relative(Ax, expected) < 0.08  # constant voxels (Siddon): 0.051; a wrong sign or axis: above 0.3
    if not OPTIONAL[name]:
        assert relative(A.T(expected.to(device)), numba.T(expected)) < 0.3
    y = torch.rand(A.range_shape).to(device)
    mismatch = abs((Ax.double() * y).sum() - (x * A.T(y).double()).sum()) / (Ax.double().norm() * y.double().norm())
    assert mismatch < (1e-6 if OPTIONAL[name] else 0.3)
    x.requires_grad_()
    (0.5 * A(x).square().sum()).backward()
    assert relative(x.grad, A.T(Ax).cpu()) < 1e-6


@pytest.mark.parametrize(("name", "matched"), OPTIONAL.items())
def test_unmatched_ones_are_marked_and_refused_where_it_matters(plain, name, matched):
    A = plain.projector(name)
    assert A.matched is A.T.matched is matched
    if matched:
        check_matched(A)
    else:
        with pytest.raises(InputError, match=r"matched = False"):
            check_matched(A)


def test_none_is_chosen_by_auto():
    for device in ("cpu", "cuda"):
        assert backends.choose_backend("auto", torch.device(device)) not in OPTIONAL


@pytest.mark.parametrize(
    ("name", "package", "install"),
    [
        ("triton", "triton", "pip install triton"),
        ("diffct", "diffct", r'pip install "diffct\[cu12\]"'),
        ("rtk", "itk", "pip install itk-rtk"),
        ("astra", "astra", "pip install astra-toolbox"),
        ("torch-radon", "torch_radon", "conda install -c conda-forge carterbox-torch-radon"),
    ],
)
def test_a_missing_package_says_how_to_install_it(plain, monkeypatch, name, package, install):
    entry = backends._REGISTRY[name]
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"monai_iscs.operators.backends.{entry.module}", raising=False)
    with pytest.raises(InputError, match=f"'{name}': found no usable .* expected it to be installed: {install}"):
        backends.make_backend(name, plain.projector()._scan)


def build(monkeypatch, name: str, package: str, fake, setup):
    """The backend with a fake of its package."""
    module = f"monai_iscs.operators.backends.{backends._REGISTRY[name].module}"
    monkeypatch.setitem(sys.modules, package, fake)
    monkeypatch.delitem(sys.modules, module, raising=False)
    try:
        return backends.make_backend(name, setup.projector(name)._scan)
    finally:
        sys.modules.pop(module, None)


class FakeAstra(ModuleType):
    """Records its arguments; FP3D doubles the mean of the volume, BP3D triples that of the projections."""

    def __init__(self, cuda: bool = True) -> None:
        super().__init__("astra")
        self.use_cuda = lambda: cuda
        self.create_vol_geom = lambda *args: ("volume", args)
        self.create_proj_geom = lambda *args: ("detector", args)
        self.arrays, self.runs, self.deleted = [], [], []
        self.data3d = SimpleNamespace(link=self.link, delete=self.deleted.extend)
        self.astra_dict = lambda name: {"type": name}
        self.algorithm = SimpleNamespace(create=self.create, run=self.run, delete=self.deleted.append)

    def link(self, kind, geometry, array):
        assert array.flags.c_contiguous
        assert array.dtype == np.float32
        self.arrays.append((kind, geometry, array))
        return len(self.arrays) - 1

    def create(self, config):
        self.runs.append(config)
        return "run"

    def run(self, _):
        config = self.runs[-1]
        data = self.arrays[config["ProjectionDataId"]][2]
        if config["type"] == "FP3D_CUDA":
            data[:] = 2 * self.arrays[config["VolumeDataId"]][2].mean()
        else:
            self.arrays[config["ReconstructionDataId"]][2][:] = 3 * data.mean()


def test_astra_is_handed_the_geometry(monkeypatch, skewed):
    fake = FakeAstra()
    backend = build(monkeypatch, "astra", "astra", fake, skewed)
    y = backend.forward(torch.ones(2, *skewed.volume_shape))
    assert y.shape == (2, *skewed.projection_shape)
    assert torch.equal(y, torch.full_like(y, 2.0))
    (kind, (_, volume), array), (_, (_, detector), projections) = fake.arrays[:2]
    assert kind == "-vol"
    assert array.shape == (24, 28, 32)
    assert projections.shape == (28, 2, 32)
    # rows (y), columns (x), slices, then the borders along x, y, z
    assert volume == pytest.approx((28, 32, 24, 12 - 64, 12 + 64, -31 - 63, -31 + 63, 22 - 60, 22 + 60))
    assert detector[:3] == ("cone_vec", 28, 32)
    cos, sin = np.cos(2.0), np.sin(2.0)
    expected = [700 * cos, 700 * sin, 0, -500 * cos - 41 * sin, -500 * sin + 41 * cos, -17]
    assert detector[3][1] == pytest.approx([*expected, -12 * sin, 12 * cos, 0, 0, 0, 14])
    assert len(fake.deleted) == 2 * 3


def test_astra_is_scaled_to_the_transpose_of_its_projector(monkeypatch, plain):
    backend = build(monkeypatch, "astra", "astra", FakeAstra(), plain)
    ones = torch.ones(1, *plain.volume_shape)
    seen = backend.forward(ones)
    assert float((ones * backend.adjoint(seen)).sum()) == pytest.approx(float(seen.square().sum()), rel=1e-5)


def test_astra_without_a_gpu_is_refused(monkeypatch, plain):
    with pytest.raises(InputError, match="'astra': found no CUDA device, expected one"):
        build(monkeypatch, "astra", "astra", FakeAstra(cuda=False), plain)


class FakeTorchRadon(ModuleType):
    def __init__(self) -> None:
        super().__init__("torch_radon")
        self.volumes = SimpleNamespace(Volume3D=self.volume)

    def volume(self, center, voxel_size):
        self.center, self.voxel_size = center, voxel_size
        return SimpleNamespace(set_size=lambda *size: setattr(self, "size", size))

    def ConeBeam(self, *args, **kwargs):  # noqa: N802
        self.args, self.kwargs = args, kwargs
        assert args[1].dtype == np.float32
        return SimpleNamespace(
            forward=lambda x: x.new_full((len(x), len(args[1]), kwargs["det_count_v"], args[0]), float(x.mean())),
            backward=lambda y: y.new_full((len(y), *self.size), float(y.mean())),
        )


def test_torch_radon_is_handed_lengths_in_voxels(monkeypatch, plain):
    fake = FakeTorchRadon()
    setup = replace(plain, volume_shape=(20, 16, 12), voxel_spacing=(1.5, 1.5, 1.5))
    backend = build(monkeypatch, "torch-radon", "torch_radon", fake, setup)
    assert fake.voxel_size == (1.0, 1.0, 1.0)
    assert fake.size == (12, 16, 20)
    assert fake.args[0] == 32
    assert fake.args[1] == pytest.approx(np.asarray(setup.angles) + np.pi / 2, rel=1e-6)
    fake.kwargs.pop("volume")
    assert fake.kwargs == pytest.approx(
        {
            "src_dist": 700 / 1.5,
            "det_dist": 500 / 1.5,
            "det_count_v": 28,
            "det_spacing_u": 8.0,
            "det_spacing_v": 14 / 1.5,
            "pitch": 0.0,
            "base_z": 0.0,
        }
    )
    assert fake.center == pytest.approx((0, 0, 0), abs=1e-9)
    y = backend.forward(torch.ones(1, 20, 16, 12))
    assert y.shape == (1, *setup.projection_shape)
    assert torch.equal(y, torch.full_like(y, 1.5))  # voxels to mm
    assert backend.adjoint(y).shape == (1, 20, 16, 12)


class FakeITK(ModuleType):
    """Images with spacing and origin."""

    F = "F"

    def __init__(self) -> None:
        super().__init__("itk")
        self.Image, self.views, self.images = {("F", 3): "image"}, [], []
        filters = {("image", "image"): SimpleNamespace(New=self.filter)}
        self.RTK = SimpleNamespace(
            ThreeDCircularProjectionGeometry=SimpleNamespace(New=lambda: SimpleNamespace(AddProjection=self.add)),
            JosephForwardProjectionImageFilter=filters,
            JosephBackProjectionImageFilter=filters,
        )
        self.array_from_image = lambda image: image.array

    def add(self, *view):
        self.views.append(view)

    def image_view_from_array(self, array):
        image = SimpleNamespace(array=array)
        image.SetSpacing = lambda spacing: setattr(image, "spacing", spacing)
        image.SetOrigin = lambda origin: setattr(image, "origin", origin)
        image.SetDirection = lambda direction: setattr(image, "direction", direction)
        self.images.append(image)
        return image

    def filter(self):
        inputs = {}
        return SimpleNamespace(
            SetInput=inputs.__setitem__, SetGeometry=lambda _: None, Update=lambda: None, GetOutput=lambda: inputs[0]
        )


def test_rtk_is_handed_the_geometry(monkeypatch, skewed):
    """Its isocentre is the middle of the volume, from where the source and the detector are seen along their axes."""
    fake = FakeITK()
    backend = build(monkeypatch, "rtk", "itk", fake, skewed)
    for angle, view in zip(skewed.angles, fake.views, strict=True):
        cos, sin = np.cos(angle), np.sin(angle)
        outward, along_u = 12 * cos - 31 * sin, -12 * sin - 31 * cos  # of the middle of the volume
        sid, offset = 700 - outward, (41 - along_u, -17 - 22)
        assert view == pytest.approx((sid, 1200, np.degrees(angle), *offset, 0, 0, -along_u, -22))
    assert backend.forward(torch.ones(1, *skewed.volume_shape)).shape == (1, *skewed.projection_shape)
    projections, volume = fake.images
    # first pixel: minus half the extent between the outermost centres; our y, z, x and u, v
    assert volume.array.shape == (32, 24, 28)
    assert volume.spacing == [4.5, 5.0, 4.0]
    assert volume.origin == pytest.approx([-13.5 * 4.5, -11.5 * 5, -15.5 * 4])
    assert projections.spacing == pytest.approx([12.0, 14.0, 1.0])
    assert projections.origin == pytest.approx([-15.5 * 12, -13.5 * 14, 0])
    assert np.array_equal(projections.direction, np.eye(3))
    assert backend.adjoint(torch.ones(1, *skewed.projection_shape)).shape == (1, *skewed.volume_shape)
