# SPDX-License-Identifier: Apache-2.0
"""Random numbers: one seed gives one stream for each purpose."""

from __future__ import annotations

import numpy as np
import torch

from monai_iscs.errors import InputError

# Purposes of random numbers. Their numbers are fixed: a new purpose gets the next one, so that other streams stay.
PURPOSES = {"measurement": 0, "noise": 1, "prior": 2}
PURPOSE_BITS = 3
SEED_BITS = 32  # PyTorch's CPU generator uses no more of a seed


def random_stream(seed: int, purpose: str, member: int = 0) -> torch.Generator:
    """The random numbers of one purpose, the same on every machine and for every device.

    Streams of different purposes are never the same, for any seeds: if the sampler drew the measurement's noise again,
    it would take it for data. NumPy's ``SeedSequence`` spreads the seeds of one purpose.

    Args:
        seed: a whole number of at least 0, of any size.
        purpose: one of `PURPOSES`.
        member: of an ensemble; each has numbers of its own, and 0 those of a single run.

    Returns:
        A CPU generator at the start of its stream.

    Raises:
        InputError: a seed that is not a whole number of at least 0.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise InputError(f"seed: found {seed!r}, expected a whole number of at least 0")
    number = PURPOSES[purpose]
    key = (number, member) if member else (number,)
    spread = np.random.SeedSequence(int(seed), spawn_key=key).generate_state(1)
    # the lowest bits are the purpose: hashes alone could be equal
    word = (int(spread[0]) << PURPOSE_BITS | number) % 2**SEED_BITS
    return torch.Generator().manual_seed(word)
