# SPDX-License-Identifier: Apache-2.0
"""Whether views of DICOM-CT-PD are one scan, in which order, and which of them can't be right."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_iscs.scans.readers.ct_pd_tags import TAGS, ViewFile, is_transposed
from monai_iscs.scans.readers.naming import FileError

ONE = {"patient": "patients", "study": "studies", "series": "series", "spectrum": "spectra (tubes or energies)"}
SAME = (
    *("shape", "rows", "columns", "stored_rows", "stored_columns", "pitch_u", "pitch_v", "to_detector", "central"),
    *("views_a_turn", "water"),
)
ALIKE = 1e-4  # relative difference of these from view to view
RADII = 1.0  # mm that the radius may differ from view to view
STEP = 0.5  # how far a view may be off the middle of its neighbours, in steps from view to view
STILL = 0.5  # mm, the same where the table stands still
SPOTS = {"angle_shift": 2e-3, "height_shift": 1.0, "radius_shift": 1.0}  # by so much, a focal spot is no other's
FEWEST = 5  # views, to tell one that is off the path
ENOUGH = 16  # views, in which a flying focal spot comes back to each of its places
NOMINAL = 0.05  # relative difference of the step from view to view from that of the nominal number in a turn
NAMED = 5  # gaps in a message
MOST_OBLONG = 20.0  # longer to shorter side of a pixel
MOST_MAGNIFIED = 10.0  # how many times further the detector is from the focus than the axis


def one_scan(path: Path, views: Sequence[ViewFile]) -> tuple[list[ViewFile], list[str]]:
    """The views of a folder in their order, and what is missing among them.

    The order is that of their instance numbers; where those are missing or doubled, that of the time, if all views have
    one of their own.

    Args:
        path: the folder.
        views: of its files.

    Raises:
        InputError: views of several scans, spectra or patients, or without an order.
    """
    if len(views) == 1:
        raise FileError(views[0].path, f"found no other view in {path}, expected those of a scan")
    for attribute, name in ONE.items():
        counted = Counter(getattr(view, attribute) for view in views)
        if len(counted) > 1:
            most = counted.most_common(1)[0][0]
            other = next(view for view in views if getattr(view, attribute) != most)
            raise FileError(
                other.path,
                f"found views of {len(counted)} {name} in {path}, this one not of the {counted[most]} most frequent "
                "ones, expected one scan in a folder",
            )
    numbers, times = [view.instance for view in views], [view.values.get("time") for view in views]
    if None not in numbers and len(set(numbers)) == len(views):
        views = sorted(views, key=lambda view: view.instance)
        return views, _gaps(views)
    if None not in times and len(set(times)) == len(views):
        views = [views[index]._replace(instance=number) for number, index in enumerate(np.argsort(times), 1)]
        return views, [f"found instance numbers that are missing or doubled: the order is that of {TAGS['time']}"]
    for view in views:
        if view.instance is None:
            raise FileError(view.path, "found no instance number, expected one: it is the order of the views")
    before, after = next(
        pair
        for pair in itertools.pairwise(sorted(views, key=lambda view: view.instance))
        if pair[0].instance == pair[1].instance
    )
    raise FileError(after.path, f"found instance {after.instance} in {before.path.name}, too, expected it once")


def check_views(views: Sequence[ViewFile]) -> None:
    """Look for values that can't be right.

    Args:
        views: in their order.

    Raises:
        InputError: a detector or focal spot that differs from that of the other views, a view off the path of its
            neighbours, angles in degrees, or pixels or a detector that nobody can use.
    """
    _check_alike(views)
    _check_path(views)
    _check_spots(views)
    _check_numbers(views)


def _gaps(views: Sequence[ViewFile]) -> list[str]:
    """A note of missing instance numbers."""
    number = np.array([view.instance for view in views])
    after = np.flatnonzero(np.diff(number) > 1)
    if not len(after):
        return []
    spans = [(number[i] + 1, number[i + 1] - 1) for i in after]
    named = ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in spans[:NAMED])
    missing = int(number[-1] - number[0] + 1 - len(number))
    return [
        f"found no view {named}{', ...' if len(spans) > NAMED else ''}: {missing} files are missing among {len(number)}"
    ]


def _check_alike(views: Sequence[ViewFile]) -> None:
    """Raise an `InputError` where the detector differs from that of most views."""
    for name in SAME:
        found = [view.values.get(name) for view in views]
        lacking = np.array([value is None for value in found])
        if lacking.all():
            continue
        usual = _usual([value for value in found if value is not None])
        off = lacking | np.array([value is not None and _differs(value, usual) for value in found])
        if off.any():
            worst = int(off.argmax())
            what = "none" if lacking[worst] else _text(found[worst])
            raise FileError(
                views[worst].path, f"found {what} as {TAGS[name]}, expected {_text(usual)} as in most other views"
            )


def _usual(values: Sequence[Any]) -> Any:
    if isinstance(values[0], str):
        return Counter(values).most_common(1)[0][0]
    return np.median(np.array(values), axis=0)


def _differs(value: Any, usual: Any) -> bool:
    if isinstance(usual, str):
        return value != usual
    return bool((np.abs(value - usual) > ALIKE * np.abs(usual)).any())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ", ".join(f"{one:g}" for one in np.atleast_1d(value))


def _check_path(views: Sequence[ViewFile]) -> None:
    """Raise an `InputError` for a view that is not between its neighbours, on a path of the same radius."""
    angle, height, radius = (np.array([view.values[name] for view in views]) for name in ("angle", "height", "radius"))
    far = np.abs(radius - np.median(radius))
    if far.max() > RADII:
        worst = int(far.argmax())
        raise FileError(
            views[worst].path, f"found {radius[worst]:g} mm as {TAGS['radius']}, expected {np.median(radius):g}"
        )
    number = np.array([view.instance for view in views], np.float64)
    if len(views) < FEWEST:
        return
    gap = np.diff(number)
    around = views[0].values.get("views_a_turn", 0.0)
    rate = float(np.abs(np.median(np.diff(angle) / gap)))
    if abs(rate * around - 360) < NOMINAL * 360:
        raise FileError(
            views[0].path,
            f"found {angle[0]:g} as {TAGS['angle']} and {rate:.4g} more from view to view, which are degrees with "
            f"{around:g} views a turn, expected radians",
        )
    turned = np.angle(np.exp(1j * np.diff(angle)))
    usual = np.median(turned[gap == gap.min()] / gap.min())
    turned = usual * gap + np.angle(np.exp(1j * (np.diff(angle) - usual * gap)))
    for name, steps, least in (("angle", turned, 0.0), ("height", np.diff(height), STILL)):
        rate = steps / gap
        allowed = np.maximum(STEP * np.abs(np.median(rate)), least)
        off = np.abs(rate - np.median(rate)) * gap
        # a wrong view is off in both of its steps, at an end in its only one and not in the next
        inner = np.minimum(off[1:], off[:-1])
        both = np.concatenate([[off[0] - off[1]], inner, [off[-1] - off[-2]]])
        if (both > allowed).any():
            worst = int(both.argmax())
            found = views[worst].values[name]
            raise FileError(
                views[worst].path,
                f"found {found:g} as {TAGS[name]}, {both[worst]:.3g} off what the views before and after say, expected "
                f"at most {float(allowed):.3g}",
            )


def _check_spots(views: Sequence[ViewFile]) -> None:
    """Raise an `InputError` for a focal spot at a place where that of no other view is: a flying one comes back."""
    if len(views) < ENOUGH:
        return
    for name, apart in SPOTS.items():
        shift = np.array([view.values[name] for view in views])
        order = np.argsort(shift)
        gaps = np.diff(shift[order], prepend=-np.inf, append=np.inf)
        alone = np.minimum(gaps[1:], gaps[:-1])
        if alone.max() > apart:
            worst = int(order[alone.argmax()])
            raise FileError(
                views[worst].path,
                f"found {shift[worst]:g} as {TAGS[name]}, expected a focal spot that other views have, too, such as "
                f"{np.median(shift):g}",
            )


def _check_numbers(views: Sequence[ViewFile]) -> None:
    """Raise an `InputError` for pixels or a detector that nobody can use."""
    shape = views[0].values["shape"]
    if shape not in ("CYLINDRICAL", "FLAT"):
        raise FileError(views[0].path, f"found a detector that is {shape}, expected CYLINDRICAL or FLAT")
    _check_lengths(views[0])
    for view in views:
        is_transposed(view)
        if view.values.get("logarithm", "YES") != "YES":
            raise FileError(
                view.path, f"found {view.values['logarithm']} as {TAGS['logarithm']}, expected YES: line integrals"
            )


def _check_lengths(view: ViewFile) -> None:
    """Raise an `InputError` for two lengths that can't be in the same unit."""
    for name, other, least, most in (
        ("pitch_u", "pitch_v", 1 / MOST_OBLONG, MOST_OBLONG),
        ("radius", "to_detector", 1 / MOST_MAGNIFIED, 1.0),
    ):
        one, two = view.values[name], view.values[other]
        if not least * two <= one <= most * two:
            raise FileError(
                view.path,
                f"found {one:g} mm as {TAGS[name]} and {two:g} mm as {TAGS[other]}, expected {least:g} to {most:g} "
                "times as much: are both in mm?",
            )
