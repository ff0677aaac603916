# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry

PAPER = ConeBeamGeometry.paper((16, 16, 8), (20.0, 20.0, 20.0), views=8)


def test_paper_geometry():
    full = ConeBeamGeometry.paper((256, 256, 300), (1.5, 1.5, 1.5))
    assert (full.source_to_isocenter, full.source_to_detector) == (700, 1200)
    assert full.projection_shape == (30, 512, 512)
    assert full.detector_pitch == (2.0, 2.0)
    half = ConeBeamGeometry.paper((128, 100, 60), (3.0, 3.0, 5.0), views=100, arc=100)
    assert half.projection_shape == (100, 256, 256)
    assert half.detector_pitch == (4.0, 4.0)
    assert np.degrees(half.angles) == pytest.approx(np.arange(100))


def test_a_full_circle_and_a_partial_arc_leave_their_end_out():
    fields = {name: getattr(PAPER, name) for name in PAPER.__dataclass_fields__ if name != "angles"}
    assert np.degrees(ConeBeamGeometry.circular(views=4, **fields).angles) == pytest.approx([0, 90, 180, 270])
    arc = ConeBeamGeometry.circular(views=4, arc=100, first_angle=10, clockwise=True, **fields)
    assert np.degrees(arc.angles) == pytest.approx([10, -15, -40, -65])


def test_view_vectors():
    geometry = replace(PAPER, angles=(0.0, math.pi / 2), detector_offset=(3.0, 5.0))
    source, detector, u, v = geometry.view_vectors()
    assert source == pytest.approx(np.array([[700, 0, 0], [0, 700, 0]]), abs=1e-9)
    assert detector == pytest.approx(np.array([[-500, 5, 3], [-5, -500, 3]]), abs=1e-9)
    assert u == pytest.approx(np.array([[0, 32, 0], [-32, 0, 0]]), abs=1e-9)
    assert v == pytest.approx(np.array([[0, 0, 32], [0, 0, 32]]), abs=1e-9)


def test_frozen_hashable_and_normalised():
    geometry = replace(PAPER, voxel_spacing=np.array([20, 20, 20], np.float32), angles=list(PAPER.angles))
    assert geometry == PAPER
    assert hash(geometry) == hash(PAPER)
    with pytest.raises(FrozenInstanceError):
        geometry.angles = ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"angles": ()}, "angles is empty"),
        ({"angles": (0.0, math.nan)}, "angles .* expected finite"),
        ({"angles": 3.0}, "angles is 3.0"),
        ({"volume_shape": (16, 16)}, "volume_shape is .* expected 3"),
        ({"volume_shape": (16, 16, 0)}, "volume_shape .* positive"),
        ({"volume_shape": (16, 16, 2.5)}, "volume_shape"),
        ({"voxel_spacing": (1.0, -1.0, 1.0)}, "voxel_spacing .* positive"),
        ({"voxel_spacing": (1.0, "a", 1.0)}, "voxel_spacing"),
        ({"source_to_isocenter": -700.0}, "source_to_isocenter is -700"),
        ({"source_to_isocenter": math.nan}, "source_to_isocenter is nan"),
        ({"source_to_detector": 700.0}, "source_to_detector is 700.* more than source_to_isocenter"),
        ({"detector_shape": (0, 4)}, "detector_shape .* positive"),
        ({"detector_pitch": (1.0, 0.0)}, "detector_pitch .* positive"),
        ({"detector_offset": (1.0,)}, "detector_offset is .* expected 2"),
        ({"volume_offset": (650.0, 0.0, 0.0)}, "would meet the source"),
        ({"detector_pitch": (60.0, 60.0), "voxel_spacing": (20.0, 20.0, 100.0)}, "rays climb"),
    ],
)
def test_bad_fields(change, message):
    with pytest.raises(InputError, match=message):
        replace(PAPER, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"views": 0}, "views is 0"),
        ({"views": -3}, "views is -3"),
        ({"views": 2.5}, "views is 2.5"),
        ({"arc": 0}, "arc is 0"),
        ({"arc": -90}, "arc is -90"),
        ({"arc": 361}, "arc is 361"),
        ({"arc": math.nan}, "arc is nan"),
    ],
)
def test_bad_views_and_arcs(change, message):
    with pytest.raises(InputError, match=message):
        ConeBeamGeometry.paper((16, 16, 8), (20.0, 20.0, 20.0), **change)


def test_truncated_fraction_of_what_fits_is_zero():
    volume = torch.zeros(16, 16, 8)
    volume[6:10, 6:10] = 1
    assert PAPER.truncated_fraction(volume) == pytest.approx(0, abs=1e-12)
    assert PAPER.truncated_fraction(torch.zeros(1, 1, 16, 16, 8)) == 0


def test_truncated_fraction_ignores_air_in_the_corners():
    geometry = replace(PAPER, voxel_spacing=(40.0, 40.0, 20.0))  # 640 mm wide: the corners leave the field
    volume = torch.full((16, 16, 8), 0.039)
    volume[6:10, 6:10] = 1
    assert geometry.truncated_fraction(volume) > 0.01
    assert geometry.truncated_fraction(volume, air=0.04) == pytest.approx(0, abs=1e-12)
    volume[0, 0] = 1
    assert geometry.truncated_fraction(volume, air=0.04) == pytest.approx(1 / 17, rel=1e-6)


def test_truncated_fraction_counts_what_leaves_above_and_below():
    """At the axis the detector sees |z| < 512 · 700 / 1200 mm."""
    geometry = replace(PAPER, voxel_spacing=(20.0, 20.0, 100.0), angles=(0.0,), volume_shape=(1, 1, 8))
    seen = 2 * 512 * 700 / 1200
    assert geometry.truncated_fraction(torch.ones(1, 1, 8)) == pytest.approx(1 - seen / 800, rel=1e-6)
    raised = replace(geometry, detector_offset=(300.0, 0.0))
    assert raised.truncated_fraction(torch.ones(1, 1, 8)) == pytest.approx(
        1 - (400 + (512 - 300) * 700 / 1200) / 800, rel=1e-6
    )


def test_truncated_fraction_takes_the_worst_view():
    geometry = replace(PAPER, detector_shape=(32, 6), angles=(0.0, math.pi / 2))  # sees |u| < 96 mm
    volume = torch.zeros(16, 16, 8)
    volume[1, 7:9] = 1  # in the fan of the first view, far outside of the second's
    assert geometry.truncated_fraction(volume) == pytest.approx(1.0)
    assert replace(geometry, angles=(0.0,)).truncated_fraction(volume) == pytest.approx(0.0)


def test_truncated_fraction_checks_the_shape():
    with pytest.raises(InputError, match=r"\(16, 16, 9\).*\(16, 16, 8\)"):
        PAPER.truncated_fraction(torch.zeros(16, 16, 9))
