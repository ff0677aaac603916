# SPDX-License-Identifier: Apache-2.0
"""What a user says about a file of projections beside its name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.operators.vectors import finite_numbers
from monai_iscs.scans.projections import POSITIONS

KINDS = ("line-integrals", "transmission", "counts")
UNITS = {"um": 1e-3, "mm": 1.0, "cm": 10.0, "m": 1000.0}  # in mm
PATIENT = "RAS"  # the position of a file whose frame is the patient's already

Images = str | PathLike[str] | np.ndarray | Sequence[str | PathLike[str]]


@dataclass(frozen=True, kw_only=True)
class Options:
    """The keyword arguments of `read_projections`, which explains them; checked as far as no file is needed.

    Raises:
        InputError: a value that no file allows.
    """

    geometry: str | PathLike[str] | ConeBeamGeometry | None = None
    kind: str | None = None
    flat: Images | None = None
    dark: Images | None = None
    air: float | None = None
    unit: str | float | None = None
    detector_pitch: float | Sequence[float] | None = None
    axis_column: float | None = None
    every: int = 1
    turns: Sequence[float] | None = None
    rows: Sequence[int] | None = None
    position: str | None = None
    beam_hardening: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if self.kind not in (None, *KINDS):
            raise InputError(f"kind: found {self.kind!r:.40}, expected {', '.join(KINDS)}")
        if self.position not in (None, PATIENT, *POSITIONS):
            raise InputError(f"position: found {self.position!r:.40}, expected {', '.join((*POSITIONS, PATIENT))}")
        if isinstance(self.every, bool) or not isinstance(self.every, int) or self.every < 1:
            raise InputError(f"every: found {self.every!r:.40}, expected a whole number of at least 1")
        for name, kind in (("turns", "turns"), ("rows", "rows of the detector")):
            self._check_range(name, kind, whole=name == "rows")
        if self.air is not None and not _is_positive(self.air):
            raise InputError(f"air: found {self.air!r:.40}, expected a positive count")
        if self.air is not None and self.flat is not None:
            raise InputError("air, flat: found both, expected one of the two")
        if self.unit is not None and self.unit not in UNITS and not _is_positive(self.unit):
            raise InputError(f"unit: found {self.unit!r:.40}, expected {', '.join(UNITS)}, or mm in one unit")
        if self.axis_column is not None and not _is_positive(self.axis_column, zero=True):
            raise InputError(f"axis_column: found {self.axis_column!r:.40}, expected a column, counted from 0")
        if self.detector_pitch is not None and self.pitch is None:
            raise InputError(
                f"detector_pitch: found {self.detector_pitch!r:.60}, expected the size of a pixel in mm, or (along v, "
                "along u)"
            )
        if self.beam_hardening is not None:
            finite_numbers("beam_hardening", self.beam_hardening)

    def _check_range(self, name: str, what: str, *, whole: bool) -> None:
        """Replace (first, end) by a tuple of numbers, 0 <= first < end."""
        given = getattr(self, name)
        if given is None:
            return
        try:
            low, high = finite_numbers(name, given, 2)
        except InputError:
            low, high = 0, 0
        if not 0 <= low < high or (whole and (low, high) != (int(low), int(high))):
            raise InputError(
                f"{name}: found {given!r:.40}, expected the first of the {what}, from 0, and the one after the last"
            )
        object.__setattr__(self, name, (int(low), int(high)) if whole else (low, high))

    @property
    def pitch(self) -> tuple[float, float] | None:
        """(along v, along u), mm."""
        given = self.detector_pitch
        pair = tuple(given) if isinstance(given, Sequence | np.ndarray) and not isinstance(given, str) else (given,) * 2
        return pair if len(pair) == 2 and all(map(_is_positive, pair)) else None

    @property
    def scale(self) -> float | None:
        """Mm in one of the file's units of length."""
        return UNITS.get(self.unit, self.unit)

    @property
    def geometry_file(self) -> Path | None:
        """Where the geometry is to be read from, if it is given as a file."""
        given = self.geometry
        return None if given is None or isinstance(given, ConeBeamGeometry) else Path(given).expanduser()

    def refuse(self, *names: str, because: str) -> None:
        """Raise an `InputError` if one of these options was given, which the file has no use for."""
        for name in names:
            if getattr(self, name) is not None:
                raise InputError(f"{name}: found one, expected none: {because}")


def _is_positive(value: object, *, zero: bool = False) -> bool:
    if isinstance(value, bool | str):
        return False
    try:
        return math.isfinite(value) and (value > 0 or (zero and value == 0))
    except TypeError:
        return False
