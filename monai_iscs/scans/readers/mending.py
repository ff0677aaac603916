# SPDX-License-Identifier: Apache-2.0
"""Pixels that don't work, and what stands in for them."""

from __future__ import annotations

import numpy as np

from monai_iscs.errors import InputError

MOST_MENDED = 0.05  # of all rays
MOST_OF_A_VIEW = 0.5
NEIGHBOURS = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if (row, column) != (0, 0)]
ENOUGH_VIEWS = 8  # from which on a pixel that never changes is suspicious
MOST_STUCK = 0.02  # of a detector's pixels; where more never change, the images have no noise


def stuck_pixels(lowest: np.ndarray, highest: np.ndarray, views: int) -> np.ndarray:
    """Pixels (rows, columns) that say the same in all views, where nearly all others don't.

    Args:
        lowest: of all views, (rows, columns).
        highest: of all views.
        views: how many.
    """
    constant = highest == lowest
    return constant & (views >= ENOUGH_VIEWS and constant.mean() <= MOST_STUCK)


def fill(frame: np.ndarray, missing: np.ndarray, view: int) -> None:
    """Replace missing pixels by the weighted mean of their neighbours, from the edge of each hole inwards.

    Args:
        frame: (rows, columns), changed in place.
        missing: (rows, columns), bool.
        view: for messages.

    Raises:
        InputError: more than half of the view is missing.
    """
    if missing.mean() > MOST_OF_A_VIEW:
        raise InputError(f"found {missing.mean():.0%} of view {view} without a sensible count, expected at most half")
    known = ~missing
    while not known.all():
        total, weight = np.zeros(frame.shape), np.zeros(frame.shape)
        values = _around(np.where(known, frame, 0.0))
        for (row, column), value, valid in zip(NEIGHBOURS, values, _around(known.astype(float)), strict=True):
            near = 1.0 if row and column else 2.0
            total += near * value
            weight += near * valid
        reached = ~known & (weight > 0)
        frame[reached] = total[reached] / weight[reached]
        known = known | reached


def _around(image: np.ndarray) -> list[np.ndarray]:
    """The image moved by a pixel in each of the 8 directions, in the order of `NEIGHBOURS`; 0 beyond its border."""
    rows, columns = image.shape
    padded = np.pad(image, 1)
    return [padded[1 + row : 1 + row + rows, 1 + column : 1 + column + columns] for row, column in NEIGHBOURS]
