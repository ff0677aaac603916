# SPDX-License-Identifier: Apache-2.0
"""What the command line expects of a bundle's entries, by their ids; checked where an entry is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

from ignite.engine import Engine
from torch import nn

from monai_iscs.inferers import SliceDiffusionInferer
from monai_iscs.precision import PRECISIONS
from monai_iscs.workflows.names import CHOICES, MOST, MOST_SMOOTHING


class Check(NamedTuple):
    """Whether a value is usable, and in words what would be."""

    usable: Callable[[Any], bool]
    expected: str


def _is_number(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value) and low <= value <= high


def _is_whole(value: Any, low: int, high: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _whole(low: int, high: float = math.inf) -> Check:
    limit = f"of at least {low}" if high == math.inf else f"from {low} to {high}"
    return Check(lambda value: _is_whole(value, low, high), f"a whole number {limit}")


def _above(low: float, high: float = math.inf) -> Check:
    limit = "" if high == math.inf else f", up to {high:g}"
    return Check(lambda value: _is_number(value, low, high) and value > low, f"a number above {low:g}{limit}")


def _from(low: float, high: float = math.inf) -> Check:
    limit = f"of at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
    return Check(lambda value: _is_number(value, low, high), f"a number {limit}")


def _or_null(check: Check) -> Check:
    return Check(lambda value: value is None or check.usable(value), f"{check.expected}, or null")


def _or_function(check: Check) -> Check:
    return Check(lambda value: callable(value) or check.usable(value), f"{check.expected}, or a function")


def _instance(kind: type | tuple[type, ...], expected: str) -> Check:
    return Check(lambda value: isinstance(value, kind), expected)


def _numbers(value: Any, count: int | None = None) -> bool:
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    return listed and len(value) in {count, len(value) if count is None else count} and all(map(_is_number, value))


def _is_size(value: Any) -> bool:
    listed = isinstance(value, list) and len(value) == 2
    return _is_whole(value, 1) or (listed and all(_is_whole(side, 1) for side in value))


def _is_spacing(value: Any) -> bool:
    return all(side > 0 for side in value) if _numbers(value, 3) else _is_number(value) and value > 0


def _is_range(value: Any) -> bool:
    return _numbers(value, 2) and value[0] < value[1]


def _is_display(value: Any) -> bool:
    checks = {
        "range": _is_range,
        "window": _is_range,
        "unit": lambda unit: isinstance(unit, str),
        "error_window": lambda width: _is_number(width, 0) and width > 0,
        "tissue": _is_number,
    }
    known = isinstance(value, Mapping) and set(value) == set(checks)
    return known and all(check(value[key]) for key, check in checks.items())


def _are_names(value: Any, known: Any = None) -> bool:
    listed = isinstance(value, list) and all(isinstance(name, str) for name in value)
    return listed and (known is None or (bool(value) and set(value) <= set(known)))


_FUNCTION = Check(callable, "a function or transform")
_SCAN = Check(lambda value: callable(value) and hasattr(value, "volume_affine"), "a scan, such as ConeBeamScan")
_RANGE = Check(_is_range, "two numbers, the lower one first")

# Numbers and names: checked when a config is read, where it has them.
PLAIN: dict[str, Check] = {
    "hu_range": _RANGE,
    "size": Check(_is_size, "a whole number of at least 1, or two of them"),
    "spacing": _or_null(Check(_is_spacing, "a number of mm above 0, or three of them")),
    "views": _whole(1),
    "arc": _above(0, 360),
    "photons": _or_null(_above(0)),
    "noise_std": _or_null(_from(0)),
    "factor": _or_null(_above(1)),
    "preset": _instance(str, "the name of a preset"),
    "steps": _or_null(_whole(1)),
    "eta": _or_null(_from(0, 1)),
    "noise_level": _or_null(_or_function(_from(0))),
    "smoothing": _or_null(_from(0, MOST_SMOOTHING)),
    "seed": _whole(0, MOST),
    "measurement_seed": _whole(0, MOST),
    "slice_batch": _or_null(_whole(1)),
    "precision": _or_null(Check(lambda value: value in PRECISIONS, f"one of {', '.join(PRECISIONS)}")),
    "compiled": _instance(bool, "true or false"),
    "settings": Check(_are_names, "a list of names of entries"),
    "baselines": Check(
        lambda value: _are_names(value, CHOICES["baseline"]), f"a list of some of {', '.join(CHOICES['baseline'])}"
    ),
    "inferer::slice_axis": _whole(0, 2),
    "crop": Check(_is_size, "a whole number of at least 1, or two of them"),
    "every": _whole(1),
    "epochs": _whole(1),
    "batch_size": _whole(1),
    "learning_rate": _above(0),
    "warmup_steps": _whole(1),
    "val_interval": _whole(1),
    "validate_every": _whole(1),
    "validation_sigmas": Check(
        lambda value: _numbers(value) and bool(value) and min(value) > 0, "a list of positive numbers"
    ),
    "amp": _instance(bool, "true or false"),
    "num_workers": _whole(0),
}
# What is made of other entries: checked when a verb asks for it.
MADE: dict[str, Check] = {
    "initialize": _instance(list, "a list of expressions"),
    "ckpt_path": _instance((str, Path), "the path of a file"),
    "network_def": _instance(nn.Module, "a network"),
    "preprocessing": _FUNCTION,
    "scan": _SCAN,
    "measurement": _FUNCTION,
    "comparison": _FUNCTION,
    "restoration": _FUNCTION,
    "display": Check(
        _is_display, "range and window (two numbers each), unit (a text), error_window and tissue (a number each)"
    ),
    "inferer": _instance(SliceDiffusionInferer, "a SliceDiffusionInferer"),
    "train::trainer": _instance(Engine, "an Ignite engine, such as SupervisedTrainer"),
    "validate::evaluator": _instance(Engine, "an Ignite engine, such as SupervisedEvaluator"),
}
EXPECTED = PLAIN | MADE
