# SPDX-License-Identifier: Apache-2.0
"""What the arguments of ``monai-iscs`` are read as, before anything that takes long is imported."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from monai_iscs.errors import InputError
from monai_iscs.methods import Method, parse_method
from monai_iscs.workflows.bundle import expanded, find_bundle
from monai_iscs.workflows.names import MOST


class PrintVersion(argparse.Action):
    """Prints the version; looked up only when asked for."""

    def __init__(self, option_strings: list[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="show the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from monai_iscs import __version__

        print(__version__)
        parser.exit()


class Removed(argparse.Action):
    """An option of earlier versions; says what is there instead."""

    def __init__(self, option_strings: list[str], dest: str, *, instead: str) -> None:
        super().__init__(option_strings, dest, nargs="?", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        self.instead = instead

    def __call__(self, parser: argparse.ArgumentParser, namespace: object, value: object, *_: object) -> NoReturn:
        parser.error(f"{self.option_strings[0]}: found {value!r}, expected {self.instead}")


class OneOrThree(argparse.Action):
    """Keeps one number as such, or three as a list."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: object) -> None:
        if len(values) not in (1, 3):
            raise argparse.ArgumentError(self, f"found {len(values)} numbers, expected one or three")
        setattr(namespace, self.dest, values if len(values) == 3 else values[0])


def existing_path(text: str) -> Path:
    """Looked at before the long imports: a mistyped name is told at once."""
    path = output_path(text)
    if not path.exists():
        msg = f"{path}: no such file or folder"
        raise argparse.ArgumentTypeError(msg)
    return path


def output_path(text: str) -> Path:
    """A file or folder that need not be there yet."""
    try:
        return expanded(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def shortened(text: str) -> str:
    """What was typed, as messages show it."""
    return repr(text if len(text) <= 60 else f"{text[:60]}...")


def bundle_folder(text: str) -> Path:
    """A bundle by name or path."""
    try:
        return find_bundle(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def method(text: str) -> Method:
    """A method by its name."""
    try:
        return parse_method(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("method: ")) from error


def count(low: int, high: int = MOST) -> Callable[[str], int]:
    """Whole numbers from `low` to `high`."""
    expected = f"a whole number of at least {low}" + (f" and at most {high}" if high < MOST else "")

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            limit = f" and at most {high}" if value > high and high == MOST else ""
            msg = f"found {shortened(text)}, expected {expected}{limit}"
            raise argparse.ArgumentTypeError(msg)
        return value

    return parse


def number(low: float, high: float, *, include_low: bool = False) -> Callable[[str], float]:
    """Numbers between `low`, which is one of them or not, and `high`, which is."""
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
            msg = f"found {shortened(text)}, expected {expected}"
            raise argparse.ArgumentTypeError(msg)
        return value

    return parse
