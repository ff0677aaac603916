# SPDX-License-Identifier: Apache-2.0
"""From tilted detectors to upright ones, along the same rays."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.scans.projections import Projections

MOST_TILT = 45.0  # degrees between a detector's normal and the plane of the orbit
ROUNDING = 1e-3  # of a pixel: a position that is this far outside still counts as measured


def upright(projections: Projections) -> Projections:
    """Resample each view once onto a detector with u in the x-y plane and v along z.

    The source of a view stays where it is, so that the rays through the new pixels are rays that the old detector saw,
    too; between its pixels they are interpolated bicubically. New pixels that the old detector did not cover get the
    value at its edge and the weight 0.

    Args:
        projections: with the frame's z along the axis of the orbit.

    Returns:
        The very same where all detectors are upright, and their rows rise along z.

    Raises:
        InputError: a tilted detector that is curved, or faces up or down by more than 45°.
    """
    scan = projections.geometry
    if scan.is_upright:
        return _rising(projections)
    scan.check_flat("resampling a tilted one")
    normal = scan.normals * np.sign(scan.plane_depth)[:, None]
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    level = np.hypot(normal[:, 0], normal[:, 1])
    if (tilt := math.degrees(math.acos(min(level.min(), 1.0)))) > MOST_TILT:
        raise InputError(
            f"geometry: found a detector that is tilted by {tilt:.1f} degrees out of the orbit's axis z, expected at "
            f"most {MOST_TILT:g}: the scan's axis has to be the frame's z"
        )
    forward = np.stack([normal[:, 0] / level, normal[:, 1] / level, np.zeros_like(level)], 1)
    along_v = np.broadcast_to([0.0, 0.0, 1.0], forward.shape)
    along_u = np.cross(forward, along_v)
    u_length, v_length = (np.linalg.norm(step, axis=1).mean() for step in (scan.u, scan.v))
    if np.abs((scan.v * along_u).sum(1)).mean() > np.abs((scan.u * along_u).sum(1)).mean():
        u_length, v_length = v_length, u_length

    # where the old corners are seen on the upright plane through the old detector's centre
    rows, columns = scan.detector_shape
    corners = np.stack(
        [
            scan.detector + sign_v * (rows - 1) / 2 * scan.v + sign_u * (columns - 1) / 2 * scan.u
            for sign_v in (-1, 1)
            for sign_u in (-1, 1)
        ],
        1,
    )
    ray = corners - scan.source[:, None]
    depth = ((scan.detector - scan.source) * forward).sum(1)
    seen = ray * (depth[:, None] / np.einsum("nci,ni->nc", ray, forward))[..., None] + scan.source[:, None]
    seen -= scan.detector[:, None]
    a, b = np.einsum("nci,ni->nc", seen, along_u) / u_length, seen[..., 2] / v_length
    shape = tuple(math.ceil(np.ptp(span, axis=1).max() - ROUNDING) + 1 for span in (b, a))
    middle = [(span.max(1) + span.min(1)) / 2 for span in (a, b)]
    straight = ConeBeamGeometry(
        source=scan.source,
        detector=scan.detector + middle[0][:, None] * u_length * along_u + middle[1][:, None] * v_length * along_v,
        u=u_length * along_u,
        v=v_length * along_v,
        detector_shape=shape,
    )
    data, weights = _resampled(projections, straight)
    return replace(projections, data=data, geometry=straight, weights=weights)


def _rising(projections: Projections) -> Projections:
    """Rows in the order in which they rise along z: half of the projectors expect it."""
    scan = projections.geometry
    falling = scan.v[:, 2] < 0
    if not falling.any():
        return projections
    if not falling.all():
        raise InputError("v: found rows that rise in some views and fall in others, expected one of the two")
    weights = None if projections.weights is None else projections.weights.flip(1)
    return replace(projections, data=projections.data.flip(1), geometry=replace(scan, v=-scan.v), weights=weights)


def _resampled(projections: Projections, straight: ConeBeamGeometry) -> tuple[Tensor, Tensor]:
    """Data and weights on another detector of the same sources."""
    scan = projections.geometry
    rows, columns = scan.detector_shape
    row, column = (np.arange(n) - (n - 1) / 2 for n in straight.detector_shape)
    data = torch.empty(straight.projection_shape)
    weights = torch.empty(straight.projection_shape)
    for view in range(scan.views):
        source, normal = scan.source[view], scan.normals[view]
        point = straight.detector[view] - source + column[:, None] * straight.u[view]
        point = point + row[:, None, None] * straight.v[view]
        hit = point * (scan.plane_depth[view] / (point @ normal))[..., None] - (scan.detector[view] - source)
        area = normal @ normal
        across = np.cross(hit, scan.v[view]) @ normal / area + (columns - 1) / 2
        up = np.cross(scan.u[view], hit) @ normal / area + (rows - 1) / 2
        outside = np.maximum(np.abs(across - (columns - 1) / 2) - (columns - 1) / 2, 0)
        outside = np.maximum(outside, np.abs(up - (rows - 1) / 2) - (rows - 1) / 2)
        place = np.stack([2 * across / max(columns - 1, 1) - 1, 2 * up / max(rows - 1, 1) - 1], -1)
        place = torch.from_numpy(place).float()[None]
        image = projections.data[view][None, None].cpu()
        settings = {"padding_mode": "border", "align_corners": True}
        data[view] = grid_sample(image, place, mode="bicubic", **settings)[0, 0]
        measured = torch.from_numpy(outside <= ROUNDING)
        if projections.weights is not None:
            old = projections.weights[view][None, None].float().cpu()
            measured = measured & (grid_sample(old, place, **settings)[0, 0] > 1 - ROUNDING)
        weights[view] = measured
    return data, weights
