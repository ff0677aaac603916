# SPDX-License-Identifier: Apache-2.0
"""The inferer on CUDA: checks with fake tensors without a GPU; with one, the same volume as on the CPU."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from monai_iscs.grid import Grid
from monai_iscs.inferers import Hardware, SliceDiffusionInferer
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector, SliceAveraging
from monai_iscs.priors import Mirrored, NCSNpp, NonNegative, ScoreDenoiser, SlicePrior
from monai_iscs.sampling import (
    DDNM,
    DDS,
    ConjugateGradient,
    DDIMRule,
    DDSRule,
    Geometric,
    IdenticalNoise,
    IndependentNoise,
    Recipe,
    SlerpNoise,
    Zeros,
)

SHAPE = (32, 24, 10)
THICK = SliceAveraging(SHAPE, factor=5)


@dataclass(frozen=True)
class Levels(Geometric):
    """Replaces numbers that are read from tensors: fake tensors have no values."""

    def levels(self):
        return [0.5, 0.2, 0.1]


GRID = Grid.centered(SHAPE, (9.0, 9.0, 9.0))
SCAN = ConeBeamProjector(ConeBeamGeometry.paper(GRID, views=4), GRID)
RECIPE = Recipe(start=Zeros(), sigmas=Levels(), prior=NonNegative(Mirrored(SlicePrior(), mirror=0)))


def prior() -> ScoreDenoiser:
    torch.manual_seed(0)
    return ScoreDenoiser(NCSNpp((8, 8, 8, 8))).eval().requires_grad_(False)


@pytest.fixture
def pretended(monkeypatch):
    """Tensors without values: operations across devices fail, and so does reading a number from a GPU."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)  # not possible for fake tensors
    # reads the measurement, once per volume
    monkeypatch.setattr(torch, "isfinite", lambda tensor: SimpleNamespace(all=lambda: True))
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield torch.device("cuda", 0)


def sample(device, operator, network, **plugs):
    hardware = Hardware(slice_batch=4, precision="float32")
    inferer = SliceDiffusionInferer(replace(RECIPE, **plugs), scan=operator, hardware=hardware, progress=False)
    return inferer(torch.rand(1, 1, *operator.range_shape, device=device), network)


@pytest.mark.parametrize(
    ("operator", "consistency", "noise", "rule"),
    [
        (
            ConeBeamProjector(SCAN.geometry, GRID, backend="torch"),
            DDS(solver=ConjugateGradient(smoothing=0.65)),
            SlerpNoise(),
            DDSRule(),
        ),
        (THICK, DDS(solver=ConjugateGradient(plane_smoothing=0.4)), IndependentNoise(), DDIMRule(0.85)),
        (THICK, DDS(gamma=1.0), SlerpNoise(anchor_angle=60), DDIMRule(1.0)),
        (THICK, DDNM(), IdenticalNoise(), DDSRule(momentum=0.4)),
    ],
)
def test_no_step_waits_for_the_gpu_or_leaves_it(pretended, operator, consistency, noise, rule):
    with pretended:
        network = prior()
    plugs = {"consistency": consistency, "noise": noise, "rule": rule}
    volume = sample(pretended, operator, lambda x, sigma: network(x, sigma), **plugs)
    assert volume.device == pretended
    assert volume.shape == (1, 1, *SHAPE)


@pytest.mark.parametrize(
    ("fault", "error"),
    [(lambda x: x * float(x.mean()), DataDependentOutputException), (torch.Tensor.cpu, RuntimeError)],
)
def test_pretended_tensors_find_such_faults(pretended, fault, error):
    with pytest.raises(error):
        sample(pretended, THICK, lambda x, sigma: x + fault(x))


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@needs_gpu
@pytest.mark.filterwarnings("ignore:TensorFloat32")  # some versions' compiler recommends it
@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        ({}, 1e-3),
        ({"slice_batch": None}, 1e-3),
        ({"precision": "tf32"}, 1e-2),
        ({"precision": None}, 3e-2),
        ({"compiled": True}, 1e-3),
    ],
)
@pytest.mark.parametrize("operator", [SCAN, THICK])
def test_a_gpu_gives_the_volume_of_the_cpu(operator, settings, tolerance):
    measurement = operator(torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(0)))[None]
    recipe = replace(RECIPE, prior=SlicePrior())

    def make(**settings):
        hardware = Hardware(**{"slice_batch": 4, "precision": "float32"} | settings)
        return SliceDiffusionInferer(recipe, scan=operator, hardware=hardware, progress=False)

    expected = make()(measurement, prior())
    found = make(**settings)(measurement.cuda(), prior().cuda())
    assert found.is_cuda
    assert float((found.cpu() - expected).norm() / expected.norm()) < tolerance
