# SPDX-License-Identifier: Apache-2.0
"""What the values of arguments may be, told at once and in one line where they are not."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from monai_iscs.cli.bundle import find_bundle
from monai_iscs.errors import InputError


def existing(text: str) -> Path:
    """Looked at before the long imports: a mistyped name is told at once."""
    path = Path(text).expanduser()
    if not path.exists():
        msg = f"{path}: no such file or folder"
        raise argparse.ArgumentTypeError(msg)
    return path


def bundle(text: str) -> Path:
    try:
        return find_bundle(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def count(low: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low:
            msg = f"found {text!r}, expected a whole number of at least {low}"
            raise argparse.ArgumentTypeError(msg)
        return value

    return parse


def number(low: float, high: float, *, include_low: bool = False) -> Callable[[str], float]:
    if high < math.inf:
        expected = f"a number from {low:g} to {high:g}" if include_low else f"a number above {low:g}, up to {high:g}"
    else:
        expected = f"a number above {low:g}" if low > -math.inf else "a number"

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or value > high or value < low or (value == low and not include_low):
            msg = f"found {text!r}, expected {expected}"
            raise argparse.ArgumentTypeError(msg)
        return value

    return parse
