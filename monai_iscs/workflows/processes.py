# SPDX-License-Identifier: Apache-2.0
"""The processes that ``torchrun`` starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from monai_iscs.errors import InputError

TOGETHER = ("reconstruct", "train")  # verbs that share their work


def process_count() -> int:
    """How many processes ``torchrun`` has started, 1 without it."""
    return _number("WORLD_SIZE", default=1, low=1)


def local_process() -> int:
    """Number of this process on its machine, from 0."""
    return _number("LOCAL_RANK", default=0, low=0)


def _number(variable: str, *, default: int, low: int) -> int:
    """A whole number that ``torchrun`` puts into the environment."""
    text = os.environ.get(variable, str(default))
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if value < low:
        raise InputError(
            f"{variable}: found {text[:60]!r} in the environment, expected a whole number of at least {low}"
        )
    return value


@contextmanager
def joined(verb: str, device: str | None) -> Iterator[None]:
    """Connects this process with the others, if there are any, while a verb runs.

    Args:
        verb: its name.
        device: what ``--device`` says.

    Raises:
        InputError: a verb that has no use for several processes.
    """
    if process_count() == 1:
        yield
        return
    if verb not in TOGETHER:
        raise InputError(
            f"{verb}: found {process_count()} processes (torchrun), expected one: only {' and '.join(TOGETHER)} share "
            "their work"
        )
    import ignite.distributed as idist
    import torch

    from monai_iscs.workflows.bundle import choose_device

    on_gpu = choose_device(device).type == "cuda"
    if torch.cuda.is_available() and not on_gpu:
        raise InputError(
            f"--device: found {device} with {process_count()} processes, expected cuda, or no GPU in sight: set "
            "CUDA_VISIBLE_DEVICES to nothing"
        )
    try:
        idist.initialize("nccl" if on_gpu else "gloo")
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"WORLD_SIZE: found {process_count()} in the environment, expected other processes to join, as torchrun "
            f"starts them ({' '.join(str(error).split())[:200]})"
        ) from error
    try:
        yield
    finally:
        idist.finalize()
