# SPDX-License-Identifier: Apache-2.0
"""A geometry as RTK describes it: the reverse of `ConeBeamGeometry.from_rtk`."""

from __future__ import annotations

import numpy as np

from monai_iscs.errors import InputError
from monai_iscs.operators.pixels import pixel_size
from monai_iscs.operators.vectors import ViewVectors

OURS_TO_RTK = [1, 2, 0]  # RTK's x, y, z are our y, z, x
UPSIDE_DOWN = 1e-6  # cosine of the out-of-plane angle, below which the gantry's is undetermined


def rtk_parameters(scan: ViewVectors) -> tuple[dict[str, np.ndarray], tuple[float, float]]:
    """RTK's nine parameters of a scan whose frame's origin is the isocentre and whose z is RTK's y.

    Returns:
        The parameters, one number a view, in the order in which RTK's `AddProjection` takes them; the pixel size (along
        v, along u) in mm, negative along v where rows fall.

    Raises:
        InputError: pixels that are no rectangles or differ between views, a detector that is mirrored in some views
            only, a source that is no farther along the detector's normal than the isocentre, or a detector that faces
            straight up.
    """
    pitch_v, pitch_u = pixel_size(scan, user="RTK")
    source, detector, u, v = (getattr(scan, name)[:, OURS_TO_RTK] for name in ("source", "detector", "u", "v"))
    sign = -np.sign(scan.plane_depth)  # of the source along u x v
    if np.ptp(sign):
        view = int((sign != sign[0]).argmax())
        raise InputError(
            f"geometry: found a detector in view {view} that is mirrored against that of view 0, expected all alike "
            "for RTK"
        )
    across, up = u / pitch_u, sign[:, None] * v / pitch_v
    axes = np.stack([across, up, np.cross(across, up)], 1)  # (views, 3, 3): rows are the detector's x, y, z
    level = np.hypot(axes[:, 2, 0], axes[:, 2, 2])
    seen, center = (np.einsum("nij,nj->ni", axes, point) for point in (source, detector))
    if not (seen[:, 2] > 0).all():
        view = int(seen[:, 2].argmin())
        raise InputError(
            f"geometry: found a source {-seen[view, 2]:.1f} mm behind the isocentre in view {view}, expected it before "
            "the isocentre for RTK, as the detector sees it"
        )
    if level.min() < UPSIDE_DOWN:
        raise InputError(
            f"geometry: found a detector that faces along the scan's axis z in view {level.argmin()}, expected another "
            "one for RTK"
        )
    parameters = {
        "source_to_isocenter": seen[:, 2],
        "source_to_detector": seen[:, 2] - center[:, 2],
        "gantry_angle": np.degrees(np.arctan2(axes[:, 2, 0], axes[:, 2, 2])),
        "projection_offset_x": center[:, 0],
        "projection_offset_y": center[:, 1],
        "out_of_plane_angle": np.degrees(np.arctan2(-axes[:, 2, 1], level)),
        "in_plane_angle": np.degrees(np.arctan2(axes[:, 0, 1], axes[:, 1, 1])),
        "source_offset_x": seen[:, 0],
        "source_offset_y": seen[:, 1],
    }
    return parameters, (float(sign[0] * pitch_v), pitch_u)
