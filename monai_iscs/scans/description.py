# SPDX-License-Identifier: Apache-2.0
"""Operators as plain values that JSON keeps exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector, LinearOperator, SliceAveraging


def describable(operator: LinearOperator) -> bool:
    """Whether `describe_operator` can describe an operator."""
    return isinstance(operator.factored()[1], ConeBeamProjector | SliceAveraging)


def describe_operator(operator: LinearOperator) -> dict[str, Any]:
    """All that `operator_of` needs, as JSON values.

    Args:
        operator: a `ConeBeamProjector` or `SliceAveraging`, scaled or not.

    Raises:
        InputError: another operator.
    """
    factor, inner = operator.factored()
    if isinstance(inner, ConeBeamProjector):
        settings = {"geometry": inner.geometry.as_dict(), "grid": asdict(inner.grid), "backend": inner.backend}
        settings |= {"row_rays": inner.row_rays} if inner.row_rays > 1 else {}
    elif isinstance(inner, SliceAveraging):
        settings = {"factor": inner.factor, "axis": inner.axis, "weights": _shortened(inner.matrix)}
    else:
        raise InputError(f"operator: found {operator.name}, expected a ConeBeamProjector or a SliceAveraging")
    return {"name": inner.name, "times": factor, **settings}


def operator_of(description: Mapping[str, Any], grid: Grid) -> LinearOperator:
    """Undo `describe_operator`.

    Args:
        description: what it returned.
        grid: of the volumes that the operator takes.

    Raises:
        InputError: not a description of such an operator.
    """
    settings = dict(description)
    name, factor = settings.pop("name", None), settings.pop("times", None)
    make = {"ConeBeamProjector": _projector, "SliceAveraging": _averaging}.get(name)
    if make is None or isinstance(factor, bool) or not isinstance(factor, int | float):
        raise InputError(f"operator: found {name!r:.40} times {factor!r:.40}, expected a known one times a number")
    try:
        operator = make(settings, grid)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            f"operator: found a damaged description of a {name} ({error!r:.80}), expected one of describe_operator"
        ) from error
    return operator if factor == 1 else factor * operator


def _projector(settings: dict[str, Any], _: Grid) -> LinearOperator:
    geometry = ConeBeamGeometry.from_dict(settings["geometry"])
    rays = settings.get("row_rays", 1)
    return ConeBeamProjector(geometry, Grid(**settings["grid"]), backend=settings["backend"], row_rays=rays)


def _averaging(settings: dict[str, Any], grid: Grid) -> LinearOperator:
    axis = settings["axis"]
    weights = torch.zeros(len(settings["weights"]), grid.shape[axis], dtype=torch.float64)
    for row, (first, *values) in zip(weights, settings["weights"], strict=True):
        row[first : first + len(values)] = torch.tensor(values, dtype=torch.float64)
    return SliceAveraging.of_weights(grid.shape, weights, factor=settings["factor"], axis=axis)


def _shortened(matrix: Tensor) -> list[Sequence[float]]:
    """Each row without the zeros at its ends: the index of its first number, then the numbers."""
    rows = []
    for row in matrix:
        (used,) = torch.where(row != 0)
        first, last = int(used[0]), int(used[-1])
        rows.append([first, *row[first : last + 1].tolist()])
    return rows
