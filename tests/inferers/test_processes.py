# SPDX-License-Identifier: Apache-2.0
"""Several processes on one volume: the same volume as from one, on every process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from monai_iscs.operators import LinearOperator
from monai_iscs.sampling import DDS, ConjugateGradient
from monai_iscs.scans import Measurement

SCRIPT = """
import sys
import ignite.distributed as idist
import torch
from torch import nn

from monai_iscs.grid import Grid
from monai_iscs.inferers import Hardware, SliceDiffusionInferer
from monai_iscs.inferers.processes import SharedOperator
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector
from monai_iscs.priors import SlicePrior
from monai_iscs.sampling import DDNM, DDS, DDSTV, Geometric, Recipe, Zeros

torch.manual_seed(0)
network = nn.Conv2d(1, 1, 3, padding=1)


class Prior(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = network

    def forward(self, x, sigma):
        return x / (1 + sigma**2) + 0.05 * sigma * self.network(x)


def scan(views, slices):
    geometry = ConeBeamGeometry.circular(
        views=views, source_to_isocenter=700.0, source_to_detector=1200.0, detector_shape=(12, 20),
        detector_pitch=(16.0, 16.0),
    )
    return 0.05 * ConeBeamProjector(geometry, Grid.centered((12, 12, slices), (10.0, 10.0, 10.0)))


class Triple(SlicePrior):
    # gets three images and returns one: the shares of the processes depend on the network's output
    def ask(self, network, stack, sigma):
        return network(torch.cat([stack, stack, stack], 1), sigma)


class TripleNetwork(Prior):
    def forward(self, x, sigma):
        return super().forward(x[:, :1], sigma)


def main():
    results = {}
    for views, slices in ((5, 7), (1, 1)):
        operator = scan(views, slices)
        truth = torch.zeros(1, 1, 12, 12, slices)
        truth[:, :, 3:10, 2:8], truth[:, :, 5:7, 4:6, : slices // 2] = 0.4, 0.8
        y = operator(truth)
        for step in (DDS(), DDNM(), DDSTV()):
            for prior, made in ((SlicePrior(), Prior), (Triple(), TripleNetwork)):
                recipe = Recipe(start=Zeros(), sigmas=Geometric(3, 1.0, 0.05), prior=prior, consistency=step)
                hardware = Hardware(distributed=idist.get_world_size() > 1)
                inferer = SliceDiffusionInferer(recipe, scan=operator, hardware=hardware, progress=False)
                results[step.label, type(prior).__name__, views, slices] = inferer(y, made())
    if idist.get_world_size() > 1:
        shared = SharedOperator(operator)
        x = truth[:, 0]
        torch.testing.assert_close(shared.normal(x), operator.normal(x))
        torch.testing.assert_close(shared(x), operator(x))
        torch.testing.assert_close(shared.T(y[:, 0]), operator.T(y[:, 0]))
    torch.save(results, sys.argv[1] + f"/{idist.get_world_size()}_{idist.get_rank()}.pt")


main()
if "RANK" in __import__("os").environ:
    idist.initialize("gloo")
    assert idist.get_world_size() == 2
    main()
    idist.finalize()
"""


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    (folder / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run(
        [*command, str(folder / "script.py"), str(folder)], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return [torch.load(folder / name) for name in ("1_0.pt", "2_0.pt", "2_1.pt")]


def test_two_processes_give_the_volume_of_one_also_where_counts_do_not_divide(volumes):
    alone, *together = volumes
    assert len(alone) == 12
    for name, volume in alone.items():
        for other in together:
            assert (other[name] - volume).norm() < 1e-5 * volume.norm()


def test_the_processes_hold_the_same_volume(volumes):
    _, first, second = volumes
    for name, volume in first.items():
        assert torch.equal(volume, second[name])


class TwoParts(LinearOperator):
    """A scanner that sums its views in two parts, like two processes."""

    def __init__(self, operator):
        self.domain_shape, self.range_shape = operator.domain_shape, operator.range_shape
        self.views = operator.range_shape[0]
        self.parts = operator.rows(0, self.views // 2), operator.rows(self.views // 2, self.views)

    def forward(self, x):
        return torch.cat([part.forward(x) for part in self.parts], 1)

    def adjoint(self, y):
        first, second = y[:, : self.views // 2], y[:, self.views // 2 :]
        return self.parts[0].adjoint(first) + self.parts[1].adjoint(second)


def test_two_processes_change_as_much_as_the_last_bit_of_the_measurement(cone_beam):
    """Another order of sums is rounding, which conjugate gradients amplify like any other rounding."""
    operator = 0.052 * cone_beam((20, 20, 6), 16.0, views=12, backend="torch")
    generator = torch.Generator().manual_seed(0)
    x0, truth = torch.rand(2, 1, 20, 20, 6, generator=generator)
    y = operator(truth)
    nudged = y * (1 + torch.finfo(y.dtype).eps * (torch.randint(0, 2, y.shape, generator=generator) * 2 - 1))
    whole, split, other = (
        DDS(solver=ConjugateGradient(iterations=6)).bind(Measurement(measured, A), 2)(x0, 0.1)
        for A, measured in ((operator, y), (TwoParts(operator), y), (operator, nudged))
    )
    by_split, by_rounding = (float((x - whole).norm() / whole.norm()) for x in (split, other))
    assert by_rounding > 1e-6
    assert 0 < by_split < 10 * by_rounding
