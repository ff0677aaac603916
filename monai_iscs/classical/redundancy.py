# SPDX-License-Identifier: Apache-2.0
"""The weight of each ray of a circular scan where several rays measure the same line."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry

TURN = 2 * math.pi
REPEATED = 0.05  # of the mean step: views that are closer together are one view, measured several times
ENDS = 2.5  # a scan ends at its largest gap if that is so many times wider than the next one; else it is a circle


class RayShares(NamedTuple):
    """The result of `ray_shares`."""

    angles: np.ndarray
    """(views, columns) radians of the half circle of directions that each ray represents."""
    before: int
    """Columns to add before the first one, so that the detector has the same extent on both sides of the axis."""
    after: int
    """The same after the last one."""


def ray_shares(scan: ConeBeamGeometry, axis: np.ndarray) -> RayShares:
    """Divide the circle among the views, and each line among the rays that measure it.

    A view gets the part of the circle that is nearest to it; views at one angle share theirs. So uneven, repeated and
    missing views, several turns and both directions need no special case. The line of a ray at the angle γ from the
    central one is measured again, from the other side, by the view 180° + 2γ further on, at −γ. Each of the two rays
    has a confidence, and they share the line in proportion to it (Noo, Defrise, Clackdoyle and Kudo 2002). It is the
    product of

    - a taper of the view towards the ends of a scan that is not a full circle, over the width of the fan, which is what
      Parker (1982) does at 180° + fan. Lines that are measured once count in full, so that a limited angle isn't
      tapered at all;
    - a taper of the column across the part of the detector that sees lines twice, where the detector is off the axis
      (half-fan; Wang 2002).

    Args:
        scan: with an upright detector.
        axis: (x, y) of the rotation axis, which is along z.

    Raises:
        InputError: if no detector column sees the rotation axis in a full circle.
    """
    columns = scan.detector_shape[1]
    source, step = scan.source[:, :2] - axis, scan.u[:, :2]
    middle = (scan.detector - scan.source)[:, :2]

    def fan(column: np.ndarray) -> np.ndarray:
        """(views, columns): the angle of a column's ray from the ray through the rotation axis, counter-clockwise."""
        ray = middle[:, None] + (column - (columns - 1) / 2)[:, None] * step[:, None]
        return np.arctan2(_cross(ray, source[:, None]), -(ray * source[:, None]).sum(-1))

    angle, arc, shares = _views(np.arctan2(source[:, 1], source[:, 0]))
    gamma, edges = fan(np.arange(columns)), np.sort(fan(np.array([-0.5, columns - 0.5])))
    low, high = edges[:, 0].max(), edges[:, 1].min()  # what all views see
    seen = (columns - 1) / 2 - _cross(middle, source) / _cross(step, source)  # the column whose ray meets the axis
    missing = columns - 1 - 2 * seen
    overlap = min(-low, high)
    if overlap <= 0 and arc == TURN:
        raise InputError(
            f"geometry: found the rotation axis at detector column {seen[np.abs(missing).argmax()]:.1f}, expected -0.5 "
            f"to {columns - 0.5}: no column sees the rotation axis"
        )
    half_fan = overlap > 0 and np.abs(missing).max() > 0.5
    width = (edges[:, 1] - edges[:, 0]).max()

    def confidence(angle: np.ndarray, gamma: np.ndarray) -> np.ndarray:
        taper = np.ones(np.broadcast_shapes(angle.shape, gamma.shape))
        if arc < TURN:
            to_end = np.clip(np.minimum(angle, arc - angle) / width, 0, 1)
            taper = taper * np.sin(math.pi / 2 * to_end) ** 2
        if half_fan:
            inward = gamma if high > -low else -gamma
            taper = taper * (0.5 + 0.5 * np.sin(math.pi / 2 * np.clip(inward / overlap, -1, 1)))
        return taper

    own = confidence(angle[:, None], gamma)
    other = confidence((angle[:, None] + math.pi + 2 * gamma) % TURN, -gamma) * (overlap > 0)
    total = own + other
    counts = np.divide(own, total, out=np.zeros_like(own), where=total > 0)
    pads = [math.ceil(max(excess, 0)) if half_fan else 0 for excess in (missing.max(), -missing.min())]
    return RayShares(shares[:, None] * counts, *pads)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _views(angles: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Positions of the views in the scan's arc (from 0), the arc's length, and the part that each view represents."""
    order = np.argsort(angles % TURN)
    gaps = np.diff(angles[order] % TURN, append=(angles % TURN).min() + TURN)
    first = (gaps.argmax() + 1) % len(angles)  # counted from the largest gap, so that repeated views stay together
    order = np.roll(order, -first)
    position = (angles[order] - angles[order[0]]) % TURN
    position[0] = 0.0
    close = REPEATED * (TURN - gaps.max()) / len(angles)
    group = np.zeros(len(angles), np.int64)
    for view in range(1, len(angles)):
        begin = position[np.searchsorted(group[:view], group[view - 1])]
        group[view] = group[view - 1] + (position[view] - begin > close)
    size = np.bincount(group)
    center = np.bincount(group, position) / size
    gaps = np.diff(center, append=center[0] + TURN)
    arc = TURN
    if len(gaps) > 1 and gaps[-1] > ENDS * gaps[:-1].max():
        gaps = np.append(gaps[:-1], gaps[-2])
        position = position + gaps[0] / 2
        arc = min(center[-1] - center[0] + (gaps[0] + gaps[-1]) / 2, TURN)
        before = gaps[np.maximum(np.arange(len(gaps)) - 1, 0)]
    else:
        before = np.roll(gaps, 1)
    inverse = np.argsort(order)
    return position[inverse], arc, ((before + gaps) / 2 / size)[group][inverse]
