# SPDX-License-Identifier: Apache-2.0
"""How many stacks of slices a reconstruction keeps at a time, counted by PyTorch's allocations."""

from __future__ import annotations

import math
import weakref
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from monai_iscs.inferers import Hardware, SliceDiffusionInferer
from monai_iscs.priors import Mirrored, NonNegative, SlicePrior
from monai_iscs.sampling import (
    DDNM,
    DDS,
    ConjugateGradient,
    DDIMRule,
    DDSRule,
    Geometric,
    IndependentNoise,
    Recipe,
    Zeros,
)

SHAPE = (48, 40, 56)


class Memory(TorchDispatchMode):
    """Bytes of all tensors of operations that are still alive: now, and at most."""

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
    ("settings", "at_work", "stacks"),
    [
        ({"consistency": DDS()}, 4, 7),  # x0, Aᵀy, conjugate gradients' x, r, p, and AᵀA p with its intermediate
        ({"consistency": DDS(solver=ConjugateGradient(smoothing=0.65))}, 4, 8),
        ({"consistency": DDS(), "rule": DDIMRule(0.85), "noise": IndependentNoise()}, 4, 8),
        # and u, b and x0 + S u; 17 kB more while it runs, whose owner is not known
        ({"consistency": DDS(solver=ConjugateGradient(smoothing=0.65), error=2.0)}, 4.05, 10),
        # and the dual variable, the last estimate and, for the momentum, their sum
        (
            {
                "consistency": DDS(solver=ConjugateGradient(smoothing=0.65), error=2.0, dual=1.0),
                "rule": DDSRule(momentum=0.4),
            },
            6.05,
            13,
        ),
        ({"consistency": DDNM(iterations=3)}, 4, 7),
        ({"consistency": DDS(), "rule": DDSRule(momentum=0.4)}, 5, 8),  # and the estimate before
    ],
)
def test_stacks_that_are_held(cone_beam, settings, at_work, stacks):
    """Besides the network: some stacks while it runs, and `stacks` and two measurements in the consistency step.

    While it runs there are x, its mirrored copy, the estimate so far, and Aᵀy.
    """
    scan = cone_beam(SHAPE, 3.0, views=2)
    y = scan(torch.rand(1, *SHAPE))
    beside = []
    with Memory() as memory:

        def network(x, sigma):
            beside.append(memory.now)
            return 0.9 * x

        recipe = Recipe(
            start=Zeros(), sigmas=Geometric(3, 0.5, 0.1), prior=NonNegative(Mirrored(SlicePrior(), mirror=0))
        )
        inferer = SliceDiffusionInferer(
            replace(recipe, **settings), scan=scan, hardware=Hardware(slice_batch=2), progress=False
        )
        inferer(y[None], network)
    stack, measurement = 4 * math.prod(SHAPE), 4 * y.numel()
    assert memory.peak <= stacks * stack + 2.5 * measurement
    assert max(beside) <= at_work * stack + 2.5 * measurement
