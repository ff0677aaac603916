# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.sampling import PRESETS, DDIMRule, DDSRule, find_preset


def test_released_is_what_the_published_code_runs():
    preset = find_preset("released")
    assert (preset.start, preset.rule(preset.eta), preset.gamma, preset.cg_iterations) == ("fdk", DDSRule(1), None, 10)
    torch.testing.assert_close(preset.sigmas()[[0, -1]], torch.tensor([5, 0.01]))
    assert len(preset.sigmas()) == 30


def test_paper_starts_from_pure_noise():
    preset = find_preset("paper")
    assert (preset.start, preset.rule(preset.eta)) == ("zeros", DDIMRule(1))
    assert preset.gamma is not None
    torch.testing.assert_close(preset.sigmas(7)[[0, -1]], torch.tensor([378, 0.01]))


@pytest.mark.parametrize("name", PRESETS)
def test_steps_can_be_chosen(name):
    assert len(find_preset(name).sigmas(4)) == 4
    with pytest.raises(InputError, match="steps is 0"):
        find_preset(name).sigmas(0)


def test_unknown_presets_are_named():
    with pytest.raises(
        InputError, match="'papre', expected one of default, fast, limited-angle, super-resolution, released, paper"
    ):
        find_preset("papre")
