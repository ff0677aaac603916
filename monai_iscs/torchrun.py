# SPDX-License-Identifier: Apache-2.0
"""The processes that ``torchrun`` started, from the environment."""

from __future__ import annotations

import os

from monai_iscs.errors import InputError


def process_count() -> int:
    """How many processes ``torchrun`` has started, 1 without it."""
    return _number("WORLD_SIZE", default=1, low=1)


def local_process() -> int:
    """Number of this process on its machine, from 0."""
    return _number("LOCAL_RANK", default=0, low=0)


def not_joined(error: Exception) -> InputError:
    """The error for an environment of several processes of which the others don't answer."""
    return InputError(
        f"WORLD_SIZE: found {process_count()} in the environment, expected other processes to join, as torchrun starts "
        f"them ({' '.join(str(error).split())[:200]})"
    )


def _number(variable: str, *, default: int, low: int) -> int:
    """A whole number that ``torchrun`` writes into the environment."""
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
