# SPDX-License-Identifier: Apache-2.0
"""Types of the arguments of ``monai-iscs``; quick to import."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from monai_iscs.errors import InputError
from monai_iscs.methods import parse_method
from monai_iscs.workflows.bundle import expanded, find_bundle
from monai_iscs.workflows.names import MOST

T = TypeVar("T")


class PrintVersion(argparse.Action):
    """Prints the version; looked up only when asked for."""

    def __init__(self, option_strings: list[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="show the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from monai_iscs import __version__

        print(__version__)
        parser.exit()


class Removed(argparse.Action):
    """An option of earlier versions; the error names its replacement."""

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


def _argument(parse: Callable[[str], T]) -> Callable[[str], T]:
    """`parse` as the type of an argument; argparse names the argument itself."""

    def read(text: str) -> T:
        try:
            return parse(text)
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error).partition(": ")[2]) from error

    return read


output_path = _argument(expanded)  # a file or folder that may not exist yet
bundle_folder = _argument(find_bundle)  # a bundle by name or path
method = _argument(parse_method)


def existing_path(text: str) -> Path:
    """Checked before the long imports: a mistyped name is reported at once."""
    path = output_path(text)
    if not path.exists():
        msg = f"found {path}, expected a file or folder that exists"
        raise argparse.ArgumentTypeError(msg)
    return path


def existing_files(text: str) -> Path:
    """The same, or a pattern such as `scan_*.tif` that some files fit."""
    path = output_path(text)
    if "*" not in path.name:
        return existing_path(text)
    if not any(path.parent.glob(path.name)):
        msg = f"found {path}, expected a pattern that files fit"
        raise argparse.ArgumentTypeError(msg)
    return path


def shortened(text: str) -> str:
    """The typed text, for messages."""
    return repr(text if len(text) <= 60 else f"{text[:60]}...")


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


def photons(text: str) -> float | str:
    """A positive number, or none: as an entry of a config, whose default may be another."""
    return "$None" if text == "none" else number(0, 1e15)(text)


def numbers(separator: str, expected: str) -> Callable[[str], list[float]]:
    """Numbers with a separator between them: argparse takes a -1e-4 that stands alone for an option."""
    read = number(-1e15, 1e15, include_low=True)

    def parse(text: str) -> list[float]:
        try:
            return [read(item) for item in text.split(separator)]
        except argparse.ArgumentTypeError:
            msg = f"found {shortened(text)}, expected {expected}"
            raise argparse.ArgumentTypeError(msg) from None

    return parse


def number(low: float, high: float, *, include_low: bool = False) -> Callable[[str], float]:
    """Numbers from `low` (with `include_low`, else above it) to `high`."""
    if high < math.inf:
        expected = f"a number from {low:g} to {high:g}" if include_low else f"a number above {low:g}, up to {high:g}"
    else:
        least = "of at least" if include_low else "above"
        expected = f"a number {least} {low:g}" if low > -math.inf else "a number"

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
