# SPDX-License-Identifier: Apache-2.0
"""A network trained on slices in the orientation of viewers, for slices in the orientation of volumes."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class DisplayOriented(nn.Module):
    """A network trained on images in the orientation of viewers and DICOM files.

    The axial slices of a RAS volume have x (to the right) before y (to the front). In viewers, rows go to the back and
    columns to the left, with the patient's right on the screen's left; rows of coronal and sagittal slices go down. In
    all three planes a reflection at the slice's second diagonal converts one to the other and back. A network only
    knows the orientation that it was trained on.

    Args:
        network: ``network(x, ...) -> tensor like x`` on displayed slices.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.size_divisor = int(getattr(network, "size_divisor", 1))
        self.in_channels: int | None = getattr(network, "in_channels", None)

    def forward(self, x: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
        """(S, C, H, W) to the same; all other arguments are passed to the network."""
        return _reflect(self.network(_reflect(x), *arguments, **keywords))


def _reflect(x: Tensor) -> Tensor:
    return x.transpose(-1, -2).flip(-1, -2)
