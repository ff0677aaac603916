# SPDX-License-Identifier: Apache-2.0
"""The device of a run, its share of memory, and the processes that work together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from monai_iscs.errors import InputError
from monai_iscs.torchrun import local_process, not_joined, process_count

if TYPE_CHECKING:
    import torch

TOGETHER = ("reconstruct", "train")  # verbs that share their work


def choose_device(name: str | None) -> torch.device:
    """The device called ``name``, or a GPU if there is one and else the CPU.

    Raises:
        InputError: this machine has no such device; the message lists its devices.
    """
    import torch

    devices = ["cpu"]
    if torch.accelerator.is_available():
        kind = torch.accelerator.current_accelerator().type
        devices += [f"{kind}:{index}" for index in range(torch.accelerator.device_count())]
    if name is None:
        name = "cuda" if devices[1:] and devices[1].startswith("cuda") else "cpu"
    if process_count() > 1 and name.startswith("cuda:"):
        raise InputError(
            f"--device: found {name!r} with {process_count()} processes, expected cuda: each takes its own"
        )
    own = f"cuda:{local_process()}" if name == "cuda" else name
    if own not in {*devices, *(device.split(":")[0] for device in devices)}:
        raise InputError(f"--device: found {name!r}, expected one that this machine has: {', '.join(devices)}")
    return torch.device(own)


def limit_memory(device: torch.device, gigabytes: float) -> None:
    """Let this process use no more of a GPU's memory; the prior then takes fewer slices at a time.

    Raises:
        InputError: the device is no CUDA device, or doesn't have as much.
    """
    import torch

    if device.type != "cuda":
        raise InputError(f"--memory: found with device {device}, expected a CUDA device: others cannot be limited")
    total = torch.cuda.mem_get_info(device)[1] / 1e9
    if gigabytes > total:
        raise InputError(f"--memory: found {gigabytes:g} GB, expected at most the {total:.1f} GB that {device} has")
    torch.cuda.set_per_process_memory_fraction(gigabytes / total, device)


@contextmanager
def joined(device: str | None) -> Iterator[None]:
    """Connects this process with the others, if there are any.

    Args:
        device: the value of ``--device``.

    Raises:
        InputError: a device that several processes can't share, or the others do not answer.
    """
    if process_count() == 1:
        yield
        return
    import ignite.distributed as idist

    backend = choose_backend(device)
    try:
        idist.initialize(backend)
    except (RuntimeError, ValueError) as error:
        raise not_joined(error) from error
    try:
        yield
    finally:
        idist.finalize()


def check_alone(verb: str) -> None:
    """Raise an `InputError` for a verb that cannot use several processes, if there are some."""
    if process_count() > 1 and verb not in TOGETHER:
        raise InputError(
            f"{verb}: found {process_count()} processes (torchrun), expected one: only {' and '.join(TOGETHER)} share "
            "their work"
        )


def choose_backend(device: str | None) -> str:
    """PyTorch's way from process to process that suits a device.

    Raises:
        InputError: the CPU, where a GPU is visible.
    """
    import torch

    on_gpu = choose_device(device).type == "cuda"
    if torch.cuda.is_available() and not on_gpu:
        raise InputError(
            f"--device: found {device} with {process_count()} processes, expected cuda, or no visible GPU: set "
            "CUDA_VISIBLE_DEVICES to nothing"
        )
    return "nccl" if on_gpu else "gloo"
