# SPDX-License-Identifier: Apache-2.0
"""The inferer on CUDA: what pretended tensors tell without a GPU, and, where there is one, the CPU's volume."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from monai_iscs.inferers import SliceDiffusionInferer, slice_diffusion
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector, SliceAveraging
from monai_iscs.priors import NCSNpp, ScoreDenoiser
from monai_iscs.sampling import DDNM, DDS, DDIMRule, IdenticalNoise, IndependentNoise, SlerpNoise

SHAPE = (32, 24, 10)
THICK = SliceAveraging(SHAPE, factor=5)
SCAN = ConeBeamProjector(ConeBeamGeometry.paper(SHAPE, (9.0, 9.0, 9.0), views=4))


def prior() -> ScoreDenoiser:
    torch.manual_seed(0)
    return ScoreDenoiser(NCSNpp((8, 8, 8, 8))).eval().requires_grad_(False)


@pytest.fixture
def pretended(monkeypatch):
    """Tensors without content: operations on two devices fail, and so does the host asking a GPU for a number."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)  # cannot be pretended
    monkeypatch.setattr(slice_diffusion, "_check", lambda *_: None)  # looks at the measurement, once a volume
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield torch.device("cuda", 0)


def sample(device, operator, network, **settings):
    plugs = {"sigmas": [0.5, 0.2, 0.1], "slice_batch": 4, "precision": "float32", "mirror": 0, "non_negative": True}
    inferer = SliceDiffusionInferer(operator=operator, progress=False, **plugs | settings)
    return inferer(torch.rand(1, 1, *operator.range_shape, device=device), network)


@pytest.mark.parametrize(
    ("operator", "consistency", "noise", "rule"),
    [
        (ConeBeamProjector(SCAN.geometry, backend="torch"), partial(DDS, smoothing=0.65), SlerpNoise(), None),
        (THICK, partial(DDS, plane_smoothing=0.4), IndependentNoise(), DDIMRule(0.85)),
        (THICK, partial(DDS, gamma=1.0), SlerpNoise(anchor_angle=60), DDIMRule(1.0)),
        (THICK, DDNM, IdenticalNoise(), None),
    ],
)
def test_no_step_waits_for_the_gpu_or_leaves_it(pretended, operator, consistency, noise, rule):
    with pretended:
        network = prior()
    settings = {"consistency": consistency, "noise": noise, **({"rule": rule} if rule else {})}
    volume = sample(pretended, operator, lambda x, sigma: network(x, sigma), **settings)
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
    plugs = {"sigmas": [0.5, 0.2, 0.1], "operator": operator, "slice_batch": 4, "progress": False}
    expected = SliceDiffusionInferer(**plugs, precision="float32")(measurement, prior())
    inferer = SliceDiffusionInferer(**plugs | {"precision": "float32"} | settings)
    found = inferer(measurement.cuda(), prior().cuda())
    assert found.is_cuda
    assert float((found.cpu() - expected).norm() / expected.norm()) < tolerance
