# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.priors import GuidedDiffusionUNet


def small(**settings: object) -> GuidedDiffusionUNet:
    torch.manual_seed(0)
    return GuidedDiffusionUNet(**{"channels": (32, 64), "attention_levels": (False, True), **settings})


def test_the_default_is_the_network_of_dds() -> None:
    with torch.device("meta"):
        network = GuidedDiffusionUNet()
    assert sum(parameter.numel() for parameter in network.parameters()) == 374_022_658
    assert network.size_divisor == 32


def test_the_learnt_variance_is_not_given() -> None:
    network = small()
    torch.nn.init.normal_(network.conv_out.weight)
    x = torch.rand(2, 1, 8, 12)
    noise = network(x, timesteps=torch.tensor([3.0, 980.5]))
    assert noise.shape == x.shape
    alone = small(learn_sigma=False)
    weights = network.state_dict()
    weights |= {name: weights[name][:1] for name in ("conv_out.weight", "conv_out.bias")}
    alone.load_state_dict(weights)
    torch.testing.assert_close(alone(x, torch.tensor([3.0, 980.5])), noise)


def test_an_untrained_network_predicts_no_noise() -> None:
    """The usual initial weights: last layers at zero."""
    assert not small()(torch.rand(1, 1, 8, 8), 5).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"channels": (32, 48)}, "found 48, expected a multiple of 32"), ({"num_head_channels": 48}, "divisor of the 64")],
)
def test_impossible_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small(**settings)


def test_sizes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(InputError, match="slices: found 8 x 9 pixels, expected multiples of 2"):
        small()(torch.rand(1, 1, 8, 9), 5)
