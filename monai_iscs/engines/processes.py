# SPDX-License-Identifier: Apache-2.0
"""A training on one process or several: how they find each other, their devices and who takes which slices."""

from __future__ import annotations

import os
from typing import Any

import ignite.distributed as idist
import torch
from monai.data import DataLoader, DistributedSampler
from torch.utils.data import Dataset


def join_processes() -> None:
    """Connects this process with the others that ``torchrun`` started, if it did and they are not connected yet."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and idist.get_world_size() == 1:
        idist.initialize("nccl" if torch.cuda.is_available() else "gloo")


def training_device() -> torch.device:
    """A GPU if there is one, of several processes each its own; else the CPU."""
    if idist.get_world_size() > 1:
        return idist.device()
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def training_loader(dataset: Dataset, *, device: torch.device | str, **settings: Any) -> DataLoader:
    """Whole batches of a dataset in random order; several processes share them equally.

    Args:
        dataset: what is trained on.
        device: where the batches go.
        settings: of MONAI's ``DataLoader``, such as ``batch_size`` (of one process) and ``num_workers``.
    """
    shared = idist.get_world_size() > 1
    order = {"sampler": DistributedSampler(dataset, even_divisible=True)} if shared else {"shuffle": True}
    return DataLoader(dataset, drop_last=True, pin_memory=torch.device(device).type == "cuda", **order, **settings)
