# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.priors import NCSNpp


def small(**settings: object) -> NCSNpp:
    torch.manual_seed(0)
    return NCSNpp(**{"channels": (8, 16, 16), "num_res_blocks": 1, "attention_levels": (False,) * 3, **settings})


def awake(network: NCSNpp) -> NCSNpp:
    """With larger weights in the layers that start at nearly zero, so that the output is not nearly zero."""
    for parameter in network.parameters():
        if parameter.abs().max() < 1e-3:
            torch.nn.init.normal_(parameter, std=0.1)
    return network.requires_grad_(False)


def test_the_default_is_the_paper_s_network() -> None:
    with torch.device("meta"):
        network = NCSNpp()
    assert sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad) == 61_433_473
    assert network.frequencies.numel() == 128
    assert not network.frequencies.requires_grad
    assert network.size_divisor == 8


def test_attention_belongs_to_a_level_not_to_a_width() -> None:
    """The reference decides by the width of an input, and fails if a level is 16 wide by chance."""
    network = awake(small(attention_levels=(False, True, False)))
    for height, width in ((16, 16), (32, 64), (8, 24)):
        assert network(torch.rand(1, 1, height, width), 0.3).shape == (1, 1, height, width)


def test_sizes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(InputError, match="slices: found 16 x 18 pixels, expected multiples of 4"):
        small()(torch.rand(1, 1, 16, 18), 1.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": (8, 16)}, "attention_levels: found 3 entries, expected one for each of the 2"),
        ({"channels": (2, 8, 8)}, "channels: found 2, expected a multiple of 4"),
        ({"channels": (8, 8, 136)}, "channels: found 136"),
        ({"num_res_blocks": 0}, "num_res_blocks: found 0"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small(**settings)


def test_a_noise_level_for_all_slices_or_one_for_each() -> None:
    network, x = awake(small()), torch.rand(3, 1, 16, 16)
    together = network(x, torch.tensor([0.1, 1.0, 30.0]))
    for index, sigma in enumerate((0.1, 1.0, 30.0)):
        found = network(x[index : index + 1], sigma)
        torch.testing.assert_close(found, together[index : index + 1], rtol=1e-4, atol=1e-4)


def test_slices_do_not_see_each_other_and_memory_layout_does_not_matter() -> None:
    network, x = awake(small(attention_levels=(False, True, False))), torch.rand(3, 1, 16, 16)
    expected = network(x, 0.5)
    torch.testing.assert_close(network(x[1:2], 0.5), expected[1:2], rtol=1e-4, atol=1e-4)
    channels_last = network.to(memory_format=torch.channels_last)
    torch.testing.assert_close(channels_last(x, 0.5), expected, rtol=1e-4, atol=1e-4)


def test_an_untrained_network_says_nothing_of_the_score() -> None:
    """Its last layer starts at nearly zero."""
    assert bool((small()(torch.rand(1, 1, 16, 16), 1.0).abs() < 1e-3).all())


def test_it_learns_to_denoise() -> None:
    """Denoising score matching, as the published priors were trained: gradients reach every weight, the loss falls."""
    torch.manual_seed(0)
    network = NCSNpp((8, 8), num_res_blocks=1, attention_levels=(False, False))
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    clean = torch.zeros(8, 1, 8, 8)
    clean[:, :, 2:6, 2:6] = 0.8
    losses = []
    for _ in range(20):
        noise = torch.randn_like(clean)
        loss = (0.3 * network(clean + 0.3 * noise, 0.3) + noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(bool(parameter.grad.any()) for parameter in network.parameters())
    assert losses[-1] < 0.7 * losses[0]


def test_nothing_in_it_depends_on_values() -> None:
    """Needed for torch.compile: it runs with tensors that only have shapes."""
    network = small(attention_levels=(False, True, False)).to("meta")
    out = network(torch.empty(2, 1, 16, 24, device="meta"), torch.empty(2, device="meta"))
    assert out.shape == (2, 1, 16, 24)
