# SPDX-License-Identifier: Apache-2.0
"""Checks of the values of a bundle's config, with their descriptions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple


class Check(NamedTuple):
    """Whether a value is usable, and a description of usable values."""

    usable: Callable[[Any], bool]
    expected: str


def is_number(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    """A finite number from `low` to `high`."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value) and low <= value <= high


def is_whole(value: Any, low: int, high: float = math.inf) -> bool:
    """A whole number from `low` to `high`."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def whole(low: int, high: float = math.inf) -> Check:
    """Whole numbers from `low` to `high`."""
    limit = f"of at least {low}" if high == math.inf else f"from {low} to {high}"
    return Check(lambda value: is_whole(value, low, high), f"a whole number {limit}")


def above(low: float, high: float = math.inf) -> Check:
    """Numbers above `low`, up to `high`."""
    limit = "" if high == math.inf else f", up to {high:g}"
    return Check(lambda value: is_number(value, low, high) and value > low, f"a number above {low:g}{limit}")


def at_least(low: float, high: float = math.inf) -> Check:
    """Numbers from `low` to `high`."""
    limit = f"of at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
    return Check(lambda value: is_number(value, low, high), f"a number {limit}")


def or_null(check: Check) -> Check:
    """The same, or null."""
    return Check(lambda value: value is None or check.usable(value), f"{check.expected}, or null")


def instance(kind: type | tuple[type, ...], expected: str) -> Check:
    """Objects of a class."""
    return Check(lambda value: isinstance(value, kind), expected)


def one_of(known: Sequence[str]) -> Check:
    """Some texts only."""
    return Check(lambda value: value in known, f"one of {', '.join(known)}")


def some_of(known: Sequence[str]) -> Check:
    """Lists of some texts."""
    return Check(lambda value: _are_texts(value) and bool(value) and set(value) <= set(known), _listed(known))


def _listed(known: Sequence[str]) -> str:
    return f"a list of some of {', '.join(known)}"


def _numbers(value: Any, count: int | None = None) -> bool:
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    return listed and len(value) in {count, len(value) if count is None else count} and all(map(is_number, value))


def _is_size(value: Any) -> bool:
    listed = isinstance(value, list) and len(value) == 2
    return is_whole(value, 1) or (listed and all(is_whole(side, 1) for side in value))


def _is_spacing(value: Any) -> bool:
    return all(side > 0 for side in value) if _numbers(value, 3) else is_number(value) and value > 0


def _is_range(value: Any) -> bool:
    return _numbers(value, 2) and value[0] < value[1]


def _is_display(value: Any) -> bool:
    checks = {
        "range": _is_range,
        "window": _is_range,
        "unit": lambda unit: isinstance(unit, str),
        "error_window": lambda width: is_number(width, 0) and width > 0,
        "tissue": is_number,
    }
    known = isinstance(value, Mapping) and set(value) == set(checks)
    return known and all(check(value[key]) for key, check in checks.items())


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


FUNCTION = Check(callable, "a function or transform")
FLAG = instance(bool, "true or false")
RANGE = Check(_is_range, "two numbers, the lower one first")
SIZE = Check(_is_size, "a whole number of at least 1, or two of them")
SPACING = Check(_is_spacing, "a number of mm above 0, or three of them")
NAMES = Check(_are_texts, "a list of names of entries")
SIGMAS = Check(lambda value: _numbers(value) and bool(value) and min(value) > 0, "a list of positive numbers")
DISPLAY = Check(
    _is_display, "range and window (two numbers each), unit (a text), error_window and tissue (a number each)"
)
