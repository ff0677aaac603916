# SPDX-License-Identifier: Apache-2.0
"""Weights of measured values, and how they travel as text."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import InputError


def checked_weights(weights: Tensor, shape: Sequence[int]) -> Tensor:
    """Weights as float32.

    Raises:
        InputError: another shape, values that are negative or not finite, or none above 0.
    """
    weights = real_tensor(weights, "weights").as_subclass(torch.Tensor).to(torch.float32)
    if tuple(weights.shape) != tuple(shape):
        raise InputError(f"weights: found shape {tuple(weights.shape)}, expected {tuple(shape)}")
    if not bool((torch.isfinite(weights) & (weights >= 0)).all()):
        raise InputError("weights: found negative or infinite ones or NaN, expected finite ones of at least 0")
    if not bool((weights > 0).any()):
        raise InputError("weights: found only zeros, expected something that was measured")
    return weights


def packed(weights: Tensor) -> str:
    """As text: 0 and 1 take a few bytes a row."""
    return base64.b64encode(zlib.compress(weights.cpu().numpy().astype("<f4").tobytes())).decode()


def unpacked(text: str | None, shape: Sequence[int]) -> Tensor | None:
    """Undo `packed`; None stays None.

    Raises:
        InputError: a text that is none of those.
    """
    if text is None:
        return None
    try:
        values = np.frombuffer(zlib.decompress(base64.b64decode(text)), "<f4").reshape(shape)
    except (ValueError, TypeError, zlib.error) as error:
        raise InputError(f"weights: found {text!r:.40}, expected {tuple(shape)} packed numbers ({error})") from None
    return torch.from_numpy(values.copy())
