# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from monai_iscs.errors import InputError
from monai_iscs.operators.vectors import VECTORS
from monai_iscs.scans import read_projections

# Source, detector, u and v of some views in the stage's axes, by the toolbox of CTSimU (ctsimu 1.7.0), mm.
TOOLBOX = {
    (("direction", "CW"), ("include_final_angle", True)): {
        0: [
            [-297.8974518108, -25.5857040578, 3.671505478677],
            [104.4447591752, 10.48040835993, -6.815667352015],
            [0.1129338453615, -1.495742607059, 0],
            [0.1135136372149, 0.008570680203358, -1.996757671228],
        ],
        6: [
            [126.7908562177, 270.7796130197, 3.671505478677],
            [-43.14607970585, -95.69201891779, -6.815667352015],
            [-1.351818017917, 0.6500677244995, 0],
            [-0.04933439182362, -0.1025910336057, -1.996757671228],
        ],
    },
    (("direction", "CCW"), ("include_final_angle", False)): {
        4: [
            [264.5670376773, 139.2903536581, 3.671505478677],
            [-92.17240574827, -50.22742574652, -6.815667352015],
            [-0.685064326868, 1.33442379627, 0],
            [-0.1012709659977, -0.0519903244729, -1.996757671228],
        ],
        6: [
            [226.3189262183, -195.3900296405, 3.671505478677],
            [-80.4297532238, 67.45073368693, -6.815667352015],
            [0.9918979785795, 1.125228154682, 0],
            [-0.08539486669148, 0.075276285347, -1.996757671228],
        ],
    },
}


@pytest.mark.parametrize("acquisition", TOOLBOX)
def test_vectors_agree_with_the_toolbox(ctsimu_scan, acquisition):
    scan = read_projections(ctsimu_scan(**dict(acquisition))).geometry
    for view, expected in TOOLBOX[acquisition].items():
        np.testing.assert_allclose([getattr(scan, name)[view] for name in VECTORS], expected, rtol=0, atol=1e-9)


def test_dark_and_flat_fields(ctsimu_scan, seven):
    projections = read_projections(ctsimu_scan())
    np.testing.assert_allclose(projections.data, seven, atol=1e-3)
    assert projections.position is None
    assert projections.notes == ()
    assert projections.weights is None


@pytest.mark.parametrize("corrected", [True, False])
def test_images_without_fields(ctsimu_scan, seven, corrected):
    fields = {f"{name}_field": {"projections_corrected": corrected, "filename": None} for name in ("dark", "flat")}
    path = ctsimu_scan(projections={**fields, "max_intensity": 50_000})
    projections = read_projections(path)
    np.testing.assert_allclose(np.exp(-projections.data.numpy()), np.exp(-seven) + 100 / 50_000, atol=1e-4)
    taken = ("the counts of air were taken to be the file's max_intensity (50000)",)
    assert projections.notes == (() if corrected else taken)
    assert read_projections(path, air=50_100).notes == ()


def test_a_flat_field_that_is_missing_is_told(ctsimu_scan):
    path = ctsimu_scan()
    (path.parent / "flat_0002.raw").unlink()
    assert read_projections(path).notes == ("found 2 images of the flat field, its metadata say 3",)


def test_headers_and_byte_order(ctsimu_scan, seven):
    path = ctsimu_scan(projections={"headersize": {"file": 11, "image": 3}, "byteorder": "big"})
    for file in path.parent.glob("*.raw"):
        images = np.frombuffer(file.read_bytes(), "<u2").reshape(-1, 6, 8).astype(">u2")
        file.write_bytes(b"h" * 11 + b"".join(b"abc" + image.tobytes() for image in images))
    np.testing.assert_allclose(read_projections(path).data, seven, atol=1e-3)
    np.testing.assert_allclose(read_projections(path, every=3).data, seven[::3], atol=1e-3)


def test_the_scenario_may_be_given(ctsimu_scan, tmp_path, seven):
    path = ctsimu_scan()
    (tmp_path / "scenario.json").rename(tmp_path / "other.json")
    with pytest.raises(InputError, match=r"scan\.json: found no \.\./scenario\.json, expected the scenario"):
        read_projections(path)
    np.testing.assert_allclose(read_projections(path, geometry=tmp_path / "other.json").data, seven, atol=1e-3)
    (tmp_path / "other.json").rename(path.parent / "scenario.json")
    np.testing.assert_allclose(read_projections(path).data, seven, atol=1e-3)


def test_binned_images(ctsimu_scan, seven):
    """Half as many pixels of twice the size, as the metadata have them."""
    dimensions = {"x": {"value": 4}, "y": {"value": 3}}
    sizes = {"x": {"value": 3.0, "unit": "mm"}, "y": {"value": 4.0, "unit": "mm"}}
    path = ctsimu_scan(projections={"dimensions": dimensions, "pixelsize": sizes})
    for file in path.parent.glob("*.raw"):
        images = np.frombuffer(file.read_bytes(), "<u2").reshape(-1, 6, 8)
        file.write_bytes(images[:, ::2, ::2].tobytes())
    projections = read_projections(path)
    np.testing.assert_allclose(projections.data, seven[:, ::2, ::2], atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(projections.geometry.u, axis=1), 3)
    np.testing.assert_allclose(np.linalg.norm(projections.geometry.v, axis=1), 4)
