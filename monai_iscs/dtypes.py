# SPDX-License-Identifier: Apache-2.0
"""The type to compute in: one rule for all input tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from monai_iscs.errors import InputError


def computing_dtype(x: Tensor, name: str) -> torch.dtype:
    """The type to compute in for an input x: float64 for float64, float32 for all other real types.

    Integers, booleans and halves are used with their exact values, and results are not rounded back to their type.

    Args:
        x: the tensor.
        name: of the tensor in messages.

    Raises:
        InputError: not a tensor, or a complex one: its real part alone would be wrong.
    """
    if not torch.is_tensor(x):
        raise InputError(f"{name}: found {type(x).__name__}, expected a tensor")
    if x.is_complex():
        found = str(x.dtype).removeprefix("torch.")
        raise InputError(f"{name}: found {found}, expected a real tensor (such as its magnitude, abs())")
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def real_tensor(x: Tensor, name: str) -> Tensor:
    """x as a tensor to compute with, see `computing_dtype`; x itself if nothing has to change."""
    dtype = computing_dtype(x, name)
    return x if x.dtype == dtype else x.to(dtype)
