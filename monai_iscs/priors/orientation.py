# SPDX-License-Identifier: Apache-2.0
"""A network that learnt slices as viewers show them, on slices as volumes hold them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class DisplayOriented(nn.Module):
    """A network trained on images as they are displayed and as DICOM stores them.

    A volume in RAS holds its axial slices with x (to the right) before y (to the front). Displayed, rows run to the
    back and columns to the left, the patient's right being on the screen's left; rows of coronal and sagittal slices
    run down. In all three planes a reflection at the slice's second diagonal leads from one to the other and back. A
    network knows only the one that it was trained on.

    Args:
        network: ``network(x, ...) -> tensor like x`` on displayed slices.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.size_divisor = int(getattr(network, "size_divisor", 1))
        self.in_channels: int | None = getattr(network, "in_channels", None)

    def forward(self, x: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
        """(S, C, H, W) to the same; everything past ``x`` goes to the network as it is."""
        return _reflect(self.network(_reflect(x), *arguments, **keywords))


def _reflect(x: Tensor) -> Tensor:
    return x.transpose(-1, -2).flip(-1, -2)
