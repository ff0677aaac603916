# SPDX-License-Identifier: Apache-2.0
"""The precision of matrix products and convolutions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from monai_iscs.errors import InputError

PRECISIONS = ("float32", "tf32", "bfloat16")

T = TypeVar("T")


def choose_precision(precision: str | None, device: torch.device) -> str:
    """The precision to use: for None bfloat16 on devices whose matrix units have it, else float32.

    Those are CUDA devices since Ampere, and CPUs with AMX or AVX-512's bfloat16 products (Intel since 2020, AMD since
    Zen 4). Other CPUs compute bfloat16 slower than float32.
    """
    if precision is not None:
        return precision
    if device.type == "cuda":
        with torch.cuda.device(device):
            return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if device.type == "cpu" and _multiplies_bfloat16() else "float32"


def check_precision(precision: str | None, device: torch.device | None = None) -> None:
    """Raise an `InputError` for an unknown precision, or one that the device does not have."""
    if precision not in (None, *PRECISIONS):
        raise InputError(f"precision: found {precision!r}, expected one of {', '.join(PRECISIONS)}, or None")
    if precision == "tf32" and device is not None and device.type != "cuda":
        raise InputError(f"precision: found 'tf32' on {device}, expected float32 or bfloat16: only CUDA has it")


@contextmanager
def computing_in(precision: str, device: torch.device) -> Iterator[None]:
    """Matrix products and convolutions in one of `PRECISIONS`; PyTorch's own settings are restored at the end.

    By default PyTorch rounds the inputs of convolutions on CUDA to 10 bits (TF32).
    """
    tf32 = precision == "tf32"
    settings = (
        *(torch.backends.cuda.matmul, torch.backends.mkldnn.matmul),
        *(torch.backends.cudnn.conv, torch.backends.cudnn.rnn),
    )
    before = [setting.fp32_precision for setting in settings]
    # PyTorch also has an older interface, and refuses to read one of them if only the other was set.
    products = _readable(torch.get_float32_matmul_precision)
    convolutions = _readable(lambda: torch.backends.cudnn.allow_tf32)
    try:
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = tf32
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            yield
    finally:
        if products is not None:
            torch.set_float32_matmul_precision(products)
        if convolutions is not None:
            torch.backends.cudnn.allow_tf32 = convolutions
        for setting, value in zip(settings, before, strict=True):
            setting.fp32_precision = value


def _multiplies_bfloat16() -> bool:
    """Whether this CPU has instructions for products of bfloat16; older PyTorch does not tell."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    there = capabilities.get("amx_bf16") or capabilities.get("avx512_bf16")
    return bool(there) and torch.backends.mkldnn.is_available()


def _readable(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except RuntimeError:
        return None
