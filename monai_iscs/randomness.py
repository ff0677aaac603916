# SPDX-License-Identifier: Apache-2.0
"""Random numbers: one seed, and from it one stream for each purpose."""

from __future__ import annotations

import numpy as np
import torch

from monai_iscs.errors import InputError

# What random numbers are for. The numbers are fixed: a new purpose takes the next one and leaves the others' streams.
PURPOSES = {"measurement": 0, "noise": 1, "prior": 2}
PURPOSE_BITS = 3
SEED_BITS = 32  # all that PyTorch's generator of the CPU uses of a seed


def random_stream(seed: int, purpose: str) -> torch.Generator:
    """The random numbers of one purpose, the same on every machine and for every device.

    Streams of different purposes are never the same, whatever their seeds: the measurement's noise, drawn again by the
    sampler, would be taken for what the measurement says. Different seeds of one purpose are spread by NumPy's
    ``SeedSequence``.

    Args:
        seed: a whole number of at least 0, of any size.
        purpose: one of `PURPOSES`.

    Returns:
        A CPU generator at the start of its stream.

    Raises:
        InputError: a seed that is no whole number of at least 0.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise InputError(f"seed is {seed!r}, expected a whole number of at least 0")
    number = PURPOSES[purpose]
    spread = np.random.SeedSequence(int(seed), spawn_key=(number,)).generate_state(1)
    # the purpose takes the lowest bits of its own: hashes alone could meet
    word = (int(spread[0]) << PURPOSE_BITS | number) % 2**SEED_BITS
    return torch.Generator().manual_seed(word)
