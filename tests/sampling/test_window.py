# SPDX-License-Identifier: Apache-2.0
"""The noise of some slices of a stack is what the whole stack gets there."""

from __future__ import annotations

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.sampling import (
    AdaptiveNoise,
    IdenticalNoise,
    IndependentNoise,
    KernelNoise,
    NoNoise,
    Opposite,
    PartialNoise,
    SlerpNoise,
    StagedNoise,
    Window,
)

NOISES = {
    "independent": IndependentNoise(),
    "identical": IdenticalNoise(),
    "slerp": SlerpNoise(),
    "slerp at 30 degrees": SlerpNoise(anchor_angle=30),
    "identical steps": StagedNoise(SlerpNoise(), IdenticalNoise()),
    "kernel": KernelNoise(white=0.1),
    "a share of slerp": PartialNoise(SlerpNoise(), 0.5),
    "opposite": Opposite(IndependentNoise()),
    "none": NoNoise(),
}
STACK = 11


@pytest.mark.parametrize("axis", [0, 2])
@pytest.mark.parametrize("name", NOISES)
def test_windows_have_the_bits_of_the_stack(bound, name, axis):
    """In every draw, in-plane sizes that no vector instruction fills included; so two windows share their slices."""

    def shape(slices: int) -> list[int]:
        return [2, *((slices, 5, 7) if axis == 0 else (5, 7, slices))]

    whole = bound(NOISES[name], shape(STACK), axis=axis, spacing=2.5)
    windows = {
        first: bound(Window(NOISES[name], first, STACK), shape(count), axis=axis, spacing=2.5)
        for first, count in ((0, 4), (2, 6), (7, 4), (0, 11))
    }
    for sigma in (1.0, 0.5, 0.1):
        expected = whole(sigma, None)
        for first, window in windows.items():
            found = window(sigma, None)
            assert torch.equal(found, expected.narrow(axis + 1, first, found.shape[axis + 1]))


def test_a_window_goes_on_from_its_state(bound):
    noise = Window(StagedNoise(SlerpNoise(), IndependentNoise()), 3, STACK)
    first, second = (bound(noise, (1, 4, 6, 6)) for _ in range(2))
    first(1.0)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(0.5), second(0.5))


def test_a_window_is_known_by_its_noise():
    window = Window(SlerpNoise(), 0, STACK)
    assert (window.label, window.aligned, window.random) == ("ISCS", True, True)
    assert not Window(NoNoise(), 0, STACK).random
    assert not Window(IndependentNoise(), 0, STACK).aligned


@pytest.mark.parametrize(
    "around", [lambda n: n, lambda n: PartialNoise(n, 0.5), lambda n: StagedNoise(SlerpNoise(), n)]
)
def test_noise_that_follows_the_estimate_is_refused(around):
    with pytest.raises(InputError, match="noise: found adaptive, which follows the whole estimate, expected another"):
        Window(around(AdaptiveNoise()), 0, STACK)


def test_slices_outside_the_stack_are_refused(bound):
    for first in (-1, STACK):
        with pytest.raises(InputError, match=f"first: found {first}, expected 0 to 10"):
            Window(SlerpNoise(), first, STACK)
    with pytest.raises(InputError, match="grid: found 4 slices, expected at most 3"):
        bound(Window(SlerpNoise(), 8, STACK), (1, 4, 6, 6))(1.0)
