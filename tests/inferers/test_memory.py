# SPDX-License-Identifier: Apache-2.0
"""How many stacks of slices a reconstruction holds at a time, counted in PyTorch's own allocations."""

from __future__ import annotations

import math
import weakref
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from monai_iscs.inferers import SliceDiffusionInferer
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector
from monai_iscs.sampling import DDNM, DDS, DDIMRule, IndependentNoise

SHAPE = (48, 40, 56)


class Memory(TorchDispatchMode):
    """Bytes of the tensors that any operation has seen and that are still alive: now, and at most."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, result)):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        self.peak = max(self.peak, self.now)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self.now += storage.nbytes()
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self._sizes.pop(key)


def test_the_count():
    with Memory() as memory:
        a = torch.zeros(1000)
        b = (a + 1) * 2
        assert (memory.now, memory.peak) == (8000, 12000)
        del a, b
        assert memory.now == 0


@pytest.mark.parametrize(
    ("settings", "stacks"),
    [
        ({"consistency": DDS}, 7),  # x0, Aᵀy, conjugate gradients' x, r, p, and AᵀA p with what it is made of
        ({"consistency": partial(DDS, smoothing=0.65)}, 8),
        ({"consistency": DDS, "rule": DDIMRule(0.85), "noise": IndependentNoise()}, 8),
        ({"consistency": partial(DDNM, iterations=3)}, 7),
    ],
)
def test_stacks_that_are_held(settings, stacks):
    """Beside the network: four stacks while it is at work, `stacks` and two measurements in the consistency step."""
    scan = ConeBeamProjector(ConeBeamGeometry.paper(SHAPE, (3.0, 3.0, 3.0), views=2))
    y = scan(torch.rand(1, *SHAPE))
    beside = []
    with Memory() as memory:

        def network(x, sigma):
            beside.append(memory.now)
            return 0.9 * x

        inferer = SliceDiffusionInferer(
            sigmas=[0.5, 0.2, 0.1],
            operator=scan,
            slice_batch=2,
            mirror=0,
            non_negative=True,
            progress=False,
            **settings,
        )
        inferer(y[None], network)
    stack, measurement = 4 * math.prod(SHAPE), 4 * y.numel()
    assert memory.peak <= stacks * stack + 2.5 * measurement
    assert max(beside) <= 4 * stack + 2.5 * measurement
