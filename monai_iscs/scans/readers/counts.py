# SPDX-License-Identifier: Apache-2.0
"""From what a detector counted to line integrals, with the pixels mended that counted nothing sensible."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.scans.readers.mending import ENOUGH_VIEWS, MOST_MENDED, MOST_OF_A_VIEW, MOST_STUCK, fill, stuck_pixels
from monai_iscs.scans.readers.recording import Recording

DEAD = 0.01  # of the flat field's median: a pixel that counts less without the object is dead
FULL_SCALE = tuple(2**bits - 1 for bits in (8, 10, 12, 14, 16))  # largest numbers of a detector
AIR = 0.01  # line integral up to which a ray at full scale is one through air, and not a saturated one
WORTH_TELLING = 1e-3  # of all rays
NONE = np.empty(0, np.intp)
UNLIKE = 0.05  # line integral
NAMED = 10  # blank views in a message
MOST_BLANK = 0.5  # of all views


def line_integrals(recording: Recording, chosen: Sequence[int]) -> tuple[Tensor, Tensor | None, list[str], np.ndarray]:
    """Line integrals of some views, p = −log((counts − dark) / (air − dark)).

    Views that hold the same number in every pixel, or hardly a count, were not exposed, and are left out. Pixels that
    are dead (nothing in the flat field, or the same number in all views), rays without a count and
    saturated rays are interpolated from their neighbours.

    Args:
        recording: what was recorded; with an air value unless its numbers are line integrals.
        chosen: indices of the views, rising.

    Returns:
        Line integrals (view, v, u), float32; weights, as `Projections` has them; a sentence for each kind of mending;
        the views that were kept.

    Raises:
        InputError: numbers that are not finite, more than 5 % to mend, more than half of the views without an image, or
            numbers that can't be what they are said to be.
    """
    shape = (len(chosen), *recording.stack.shape[1:])
    data = np.empty(shape, np.float32)
    frames = enumerate(recording.stack.frames(chosen))
    blank = np.zeros(len(chosen), bool)
    weights, notes = None, []
    if recording.kind == "line-integrals":
        for view, frame in frames:
            data[view] = frame
            _check_finite(data[view], chosen[view])
            blank[view] = _constant(data[view])
        if (dead := _dead_among(data, ~blank)).any():
            weights, notes = _mended(data, chosen, dead, {})
    else:
        weights, notes = _from_counts(frames, recording, chosen, data, blank)
    kept = np.asarray(chosen)
    if blank.any() and not (blank.all() and recording.kind == "line-integrals"):  # `check_line_integrals` knows those
        notes.append(_left_out(kept[blank], len(kept)))
        kept, data = kept[~blank], data[~blank]
        weights = None if weights is None else weights[~blank]
    return torch.from_numpy(data), None if weights is None else torch.from_numpy(weights), notes, kept


def _dead_among(data: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Pixels (v, u), columns and rows of line integrals that never change, unlike those on both sides of them.

    Args:
        data: (view, v, u).
        kept: (view,), those that are not blank.
    """
    views = np.flatnonzero(kept)
    if not len(views):
        return np.zeros(data.shape[1:], bool)
    lowest, highest = data[views[0]].copy(), data[views[0]].copy()
    for view in views[1:]:  # all at once would take their memory again
        np.minimum(lowest, data[view], out=lowest)
        np.maximum(highest, data[view], out=highest)
    constant = lowest == highest
    mean = sum(data[view].astype(np.float64) for view in views) / len(views)
    dead = np.zeros(constant.shape, bool)
    for axis in (0, 1):  # beside a simulated body all are 0, but not with changing pixels on both sides
        value, inside, found = (np.moveaxis(array, axis, 0) for array in (mean, constant, dead))
        around = ~inside[:-2] & ~inside[2:]
        found[1:-1] |= inside[1:-1] & around & (np.abs(value[1:-1] - (value[:-2] + value[2:]) / 2) > UNLIKE)
    return dead & (len(views) >= ENOUGH_VIEWS and dead.mean() <= MOST_STUCK)


def _left_out(blank: np.ndarray, views: int) -> str:
    """A note of blank views, or an `InputError` for too many."""
    names = ", ".join(map(str, blank[:NAMED])) + (", ..." if len(blank) > NAMED else "")
    found = f"found no image in {len(blank)} of {views} views ({names}: one number everywhere, or hardly a count)"
    if len(blank) > MOST_BLANK * views:
        raise InputError(f"{found}, expected at most {MOST_BLANK:.0%} of them to be blank")
    return f"{found}, left out"


def _constant(frame: np.ndarray) -> bool:
    return bool(frame.size > 1 and frame.min() == frame.max())


def _check_finite(frame: np.ndarray, view: int) -> None:
    if not np.isfinite(frame).all():
        count = int((~np.isfinite(frame)).sum())
        raise InputError(f"found NaN or infinite values in {count} pixels of view {view}, expected finite numbers")


def _from_counts(
    frames: Iterable[tuple[int, np.ndarray]],
    recording: Recording,
    chosen: Sequence[int],
    data: np.ndarray,
    blank: np.ndarray,
) -> tuple[np.ndarray | None, list[str]]:
    """Fill `data`, (view, v, u), from counts, and `blank`, (view,); the weights, and notes."""
    views, *pixels = data.shape
    dark = np.asarray(recording.dark, np.float64)
    air = np.broadcast_to(np.asarray(recording.air, np.float64) - dark, pixels)
    middle = np.median(air)
    if not middle > 0:
        raise InputError(f"found {middle:g} counts of air above the dark field, expected more (flat and dark swapped?)")
    dead = air <= DEAD * middle
    log_air = np.log(np.where(dead, middle, air))
    lowest, highest = np.full(pixels, np.inf), np.full(pixels, -np.inf)
    starved, saturated, peak, at_peak = [], [], -np.inf, 0
    for view, frame in frames:
        frame = frame.astype(np.float64)
        _check_finite(frame, chosen[view])
        blank[view] = _constant(frame) or (frame <= dark).mean() > MOST_OF_A_VIEW
        if blank[view]:
            starved.append(NONE)
            saturated.append(NONE)
            continue
        np.minimum(lowest, frame, out=lowest)
        np.maximum(highest, frame, out=highest)
        if (top := frame.max()) > peak:  # what was at the peak of the views before was not at the detector's limit
            peak, at_peak, saturated = top, 0, [NONE] * view
        full = (frame == peak) & ~dead
        frame -= dark
        nothing = frame <= 0
        frame[nothing] = 1.0
        data[view] = log_air - np.log(frame)
        lost = full & (data[view] > AIR)
        at_peak += int((full & ~lost).sum())
        starved.append(np.flatnonzero(nothing))
        saturated.append(np.flatnonzero(lost))
    notes = []
    if recording.kind != "counts" or peak not in FULL_SCALE:
        saturated = [NONE] * views
    elif (share := at_peak / data.size) > WORTH_TELLING:
        notes.append(f"found {share:.1%} of the rays at the detector's largest number ({peak:g}): they count as air")
    dead |= stuck_pixels(lowest, highest, views) | ((highest <= dark) & (views > 1))
    weights, told = _mended(data, chosen, dead, {"rays without a count": starved, "saturated rays": saturated})
    return weights, notes + told


def _mended(
    data: np.ndarray, chosen: Sequence[int], dead: np.ndarray, rays: dict[str, list[np.ndarray]]
) -> tuple[np.ndarray | None, list[str]]:
    """Fill in dead pixels (v, u) and single rays, by kinds the flat indices in each view; weights, and notes."""
    rays = {name: [at[~dead.flat[at]] for at in indices] for name, indices in rays.items()}
    counted = {"dead pixels": int(dead.sum()), **{name: sum(map(len, indices)) for name, indices in rays.items()}}
    lost = sum(counted.values()) + counted["dead pixels"] * (len(data) - 1)
    if not lost:
        return None, []
    found = [f"{count:,} {name}" for name, count in counted.items() if count]
    if lost > MOST_MENDED * data.size:
        share = f"{lost / data.size:.1%} of all rays"
        raise InputError(f"found {', '.join(found)} ({share}), expected at most {MOST_MENDED:.0%}")
    weights = np.ones(data.shape, np.uint8)
    for view, frame in enumerate(data):
        missing = dead.copy()
        for indices in rays.values():
            missing.flat[indices[view]] = True
        if missing.any():
            fill(frame, missing, chosen[view])
            weights[view] = ~missing
    return weights, [f"found {one}, filled in from their neighbours" for one in found]
