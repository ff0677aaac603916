# SPDX-License-Identifier: Apache-2.0
"""Geometries of other projects' parameters."""

from __future__ import annotations

import numpy as np
import pytest

from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry

SIZES = {"detector_shape": (8, 10), "detector_pitch": (2.0, 3.0)}


def test_without_offsets_rtk_s_parameters_are_a_circle():
    rtk = ConeBeamGeometry.from_rtk(
        source_to_isocenter=600, source_to_detector=1000, gantry_angle=[0, 90, 180, 270], **SIZES
    )
    ours = ConeBeamGeometry.circular(source_to_isocenter=600, source_to_detector=1000, views=4, **SIZES)
    for name in ("source", "detector", "u", "v"):
        np.testing.assert_allclose(getattr(rtk, name), getattr(ours, name), atol=1e-10)


def test_nine_parameters_by_hand():
    """Gantry 90°: RTK's z is turned to its x, which is our y; tilts and offsets as its documentation defines them."""
    scan = ConeBeamGeometry.from_rtk(
        source_to_isocenter=600,
        source_to_detector=1000,
        gantry_angle=90,
        source_offset=(1, 2),
        projection_offset=(10, 20),
        in_plane_angle=90,
        **SIZES,
    )
    # in-plane: (x, y) -> (-y, x); then gantry: (x, y, z) -> (z, y, -x); then ours are (z, x, y)
    np.testing.assert_allclose(scan.source[0], [2, 600, 1], atol=1e-10)
    np.testing.assert_allclose(scan.detector[0], [20, -400, 10], atol=1e-10)
    np.testing.assert_allclose(scan.u[0], [0, 0, 3], atol=1e-10)
    np.testing.assert_allclose(scan.v[0], [2, 0, 0], atol=1e-10)


def test_the_origin_of_an_image_moves_its_detector():
    plain, moved = (
        ConeBeamGeometry.from_rtk(
            source_to_isocenter=600, source_to_detector=1000, gantry_angle=0, detector_origin=origin, **SIZES
        )
        for origin in (None, (-7 + 4, -13.5 + 5))
    )
    np.testing.assert_allclose(moved.detector - plain.detector, [[0, 5, 4]], atol=1e-12)


def test_twelve_numbers():
    circle = ConeBeamGeometry.circular(source_to_isocenter=600, source_to_detector=1000, views=5, **SIZES)
    rows = np.hstack([circle.source, circle.detector, circle.u, circle.v])
    assert ConeBeamGeometry.from_vectors(rows, detector_shape=(8, 10)) == circle


@pytest.mark.parametrize("rows", [np.zeros((3, 11)), np.zeros(12), np.full((2, 12), "a"), np.zeros((0, 12))])
def test_other_arrays_are_refused(rows):
    with pytest.raises(InputError, match="found"):
        ConeBeamGeometry.from_vectors(rows, detector_shape=(8, 10))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gantry_angle": [0, 1], "source_to_isocenter": [600] * 3}, "gantry_angle: found 2 numbers, expected 1 or 3"),
        ({"source_to_isocenter": -600}, "source_to_isocenter: found -600 mm"),
        ({"gantry_angle": [0, np.nan]}, "gantry_angle: found"),
        ({"projection_offset": ("a", 0)}, "projection_offset: found"),
    ],
)
def test_parameters_out_of_range(change, said):
    given = {"source_to_isocenter": 600, "source_to_detector": 1000, "gantry_angle": [0, 1], **SIZES}
    with pytest.raises(InputError, match=said):
        ConeBeamGeometry.from_rtk(**(given | change))
