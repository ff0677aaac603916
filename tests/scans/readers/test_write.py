# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from monai_iscs.errors import InputError, InputWarning
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.operators.vectors import VECTORS
from monai_iscs.scans import Projections, read_projections, write_projections

VIEWS = 9
DETECTOR = {"detector_shape": (5, 7), "detector_pitch": (2.0, 1.1)}


def circle(**settings) -> ConeBeamGeometry:
    return ConeBeamGeometry.circular(
        **DETECTOR, source_to_isocenter=700.0, source_to_detector=1200.0, views=VIEWS, **settings
    )


def helix() -> ConeBeamGeometry:
    scan, rise = circle(), np.linspace([0, 0, -80.3], [0, 0, 77.7], VIEWS)
    return replace(scan, source=scan.source + rise, detector=scan.detector + rise)


def tilted() -> ConeBeamGeometry:
    def numbers(size):
        return size * np.random.default_rng(0).normal(size=VIEWS)

    return ConeBeamGeometry.from_rtk(
        **DETECTOR,
        source_to_isocenter=600 + numbers(2),
        source_to_detector=1000 + numbers(3),
        gantry_angle=numbers(300),
        projection_offset=(numbers(20), numbers(7)),
        source_offset=(numbers(1), numbers(4)),
        out_of_plane_angle=numbers(15),
        in_plane_angle=numbers(100),
    )


def turned() -> ConeBeamGeometry:
    axes, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    return circle(detector_offset=(-5, 90)).turned(axes * np.sign(np.linalg.det(axes)))


SCANS = {
    "circle": circle(),
    "half fan": circle(detector_offset=(2, 3), clockwise=True, arc=220, first_angle=17),
    "helix": helix(),
    "rows that fall": replace(circle(), v=-circle().v),
    "tilted": tilted(),
    "turned": turned(),
}


@pytest.mark.parametrize("position", [None, "HFS", "HFP", "FFS", "FFP"])
@pytest.mark.parametrize("scan", SCANS.values(), ids=SCANS.keys())
def test_there_and_back(tmp_path, scan, position):
    """Vectors to 1e-9 mm in the patient's frame, data to the bit."""
    data = torch.rand(scan.projection_shape, generator=torch.Generator().manual_seed(0))
    written = Projections(data=data, geometry=scan, position=position)
    path = write_projections(written, tmp_path / "new" / "scan.mha")
    assert sorted(file.name for file in path.parent.iterdir()) == ["scan.mha", "scan.xml"]
    found = read_projections(path, kind="line-integrals")
    assert found.position == "HFS"
    assert torch.equal(found.data, data)
    for name in VECTORS:
        vectors = (getattr(projections.in_patient().geometry, name) for projections in (found, written))
        np.testing.assert_allclose(*vectors, rtol=0, atol=1e-9)


def test_mended_pixels_are_told(tmp_path):
    weights = torch.ones(circle().projection_shape, dtype=torch.uint8)
    projections = Projections(data=weights + torch.rand(weights.shape), geometry=circle(), weights=weights)
    write_projections(projections, tmp_path / "scan.mha")
    weights[0, 0, 0] = 0
    with pytest.warns(InputWarning, match=r"scan\.mha: the weights were left out"):
        write_projections(projections, tmp_path / "scan.mha")


def beside(name: str, change: np.ndarray) -> ConeBeamGeometry:
    return replace(circle(), **{name: getattr(circle(), name) + change})


SOME = np.arange(VIEWS)[:, None] == 3


@pytest.mark.parametrize(
    ("scan", "message"),
    [
        (beside("u", 0.1 * circle().v), r"found pixels whose sides meet at \d+\.\d+ degrees in view 0, expected right"),
        (beside("u", 0.1 * SOME * circle().u), r"found pixels of .* mm in view 0 and of .* mm in view 3, expected one"),
        (beside("v", -2 * SOME * circle().v), "found a detector in view 3 that is mirrored against that of view 0"),
        (circle(center=(5000, 0, 0)), r"found a source \d+\.\d mm behind the isocentre in view \d+, expected it"),
        (circle().turned(np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]])), "faces along the scan's axis"),
    ],
)
def test_geometries_that_rtk_cannot_have(tmp_path, scan, message):
    projections = Projections(data=torch.rand(scan.projection_shape), geometry=scan)
    with pytest.raises(InputError, match=f"^geometry: .*{message}"):
        write_projections(projections, tmp_path / "scan.mha")
    assert list(tmp_path.iterdir()) == []


def test_another_suffix(tmp_path):
    projections = Projections(data=torch.rand(circle().projection_shape), geometry=circle())
    with pytest.raises(InputError, match=r"scan\.nii: found the suffix '\.nii', expected \.mha"):
        write_projections(projections, tmp_path / "scan.nii")
