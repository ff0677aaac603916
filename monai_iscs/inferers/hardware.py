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
    """The hardware of a run and its use; it changes a result only by rounding.

    Args:
        slice_batch: most slices for the prior at a time; None: as many as fit the device. For this and the next two see
            `SliceBatches`.
        precision: of the products inside the network, "float32", "tf32" or "bfloat16"; None: the device's fast one. The
            loop itself computes in float32.
        compiled: compile the network first.
        distributed: the processes of `ignite.distributed`, a device each, share the work on each volume: all of them
            call the inferer with the same inputs, and all get the volume. False: each works alone.

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
        """A network that can be called with a whole stack."""
        return SliceBatches(
            network, device, slice_batch=self.slice_batch, precision=self.precision, compiled=self.compiled
        )

    def shared_denoiser(self, batches: SliceBatches) -> StackDenoiser:
        """The same; if distributed, the processes share the slices."""
        return SharedDenoiser(batches) if self.distributed else batches

    def shared_measurement(self, measurement: Measurement) -> Measurement:
        """The measurement; if distributed, with an operator that the processes share."""
        return measurement.changed(operator=share_operator(measurement.operator)) if self.distributed else measurement
