# SPDX-License-Identifier: Apache-2.0
"""Where and how the networks compute."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from monai_iscs.inferers.processes import SharedDenoiser, share_operator
from monai_iscs.priors.batches import SliceBatches, check_batches
from monai_iscs.priors.denoisers import StackDenoiser
from monai_iscs.scans import Measurement


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What a run may use, and how; it changes a result by rounding only.

    Args:
        slice_batch: how many slices the prior takes at a time, at most; None: what the device can hold. For this and
            the next two see `SliceBatches`.
        precision: of the products inside the network, "float32", "tf32" or "bfloat16"; None: what the device is fast
            in. The loop itself computes in float32.
        compiled: compile the network first.
        distributed: the processes of `ignite.distributed`, a device each, share the work on each volume: all of them
            call the inferer with the same inputs, and all get the volume. False: each is on its own.

    Raises:
        InputError: a slice batch below 1, or an unknown precision.
    """

    slice_batch: int | None = None
    precision: str | None = None
    compiled: bool = False
    distributed: bool = False

    def __post_init__(self) -> None:
        check_batches(self.slice_batch, self.precision)

    def batches(self, network: StackDenoiser, device: torch.device) -> SliceBatches:
        """A network as the loop may call it with a whole stack."""
        return SliceBatches(
            network, device, slice_batch=self.slice_batch, precision=self.precision, compiled=self.compiled
        )

    def shared_denoiser(self, batches: SliceBatches) -> StackDenoiser:
        """The same, where several processes share the slices."""
        return SharedDenoiser(batches) if self.distributed else batches

    def shared_measurement(self, measurement: Measurement) -> Measurement:
        """A measurement whose operator several processes share."""
        return measurement.changed(operator=share_operator(measurement.operator)) if self.distributed else measurement
