# SPDX-License-Identifier: Apache-2.0
"""A training in one process or several: their connection, their devices and their shares of the slices."""

from __future__ import annotations

from typing import Any

import ignite.distributed as idist
import torch
from monai.data import DataLoader, DistributedSampler
from monai.utils import set_determinism
from torch.utils.data import Dataset

from monai_iscs.errors import explain_uncaught
from monai_iscs.torchrun import process_count


def begin_training(seed: int) -> None:
    """To call first: connects the processes that ``torchrun`` started, if any, and seeds this one."""
    explain_uncaught()
    if process_count() > 1 and idist.get_world_size() == 1:
        idist.initialize("nccl" if torch.cuda.is_available() else "gloo")
    set_determinism(seed)


def training_device() -> torch.device:
    """A GPU if there is one, a different one for each of several processes; else the CPU."""
    if idist.get_world_size() > 1:
        return idist.device()
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def training_loader(dataset: Dataset, *, device: torch.device | str, **settings: Any) -> DataLoader:
    """MONAI's ``DataLoader`` of whole batches for a device, in random order; several processes share the dataset."""
    shared = idist.get_world_size() > 1
    order = {"sampler": DistributedSampler(dataset, even_divisible=True)} if shared else {"shuffle": True}
    return DataLoader(dataset, drop_last=True, pin_memory=torch.device(device).type == "cuda", **order, **settings)
