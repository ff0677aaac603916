# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import torch
from torch import nn

from monai_iscs.priors import DisplayOriented


class Seen(nn.Module):
    size_divisor = 4

    def forward(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        self.x = x
        return x * sigma


def test_rows_run_to_the_back_and_columns_to_the_left() -> None:
    """A slice whose values are positions: 10 x + y, with x to the right and y to the front."""
    slices = (10 * torch.arange(3)[:, None] + torch.arange(2))[None, None].float()
    network = DisplayOriented(Seen())
    answer = network(slices, 2.0)
    assert network.network.x[0, 0].tolist() == [[21, 11, 1], [20, 10, 0]]  # front row first, from the patient's right
    torch.testing.assert_close(answer, 2 * slices)
    assert network.size_divisor == 4
