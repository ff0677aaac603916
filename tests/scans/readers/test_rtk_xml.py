# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import itk
import numpy as np
import pytest

from monai_iscs.operators.vectors import VECTORS
from monai_iscs.scans import read_projections
from monai_iscs.scans.readers.rtk_xml import NAMES, projection_matrix, read_rtk_xml

OURS_TO_RTK = [1, 2, 0]


def matrices(path) -> np.ndarray:
    found = (element.text.split() for element in ElementTree.parse(path).iter("Matrix"))
    return np.array([[float(word) for word in words] for words in found]).reshape(-1, 3, 4)


@pytest.mark.parametrize(("name", "views"), [("full", 10), ("flex", 6)])
def test_vectors_agree_with_rtk_s_own_matrices(data_folder, name, views):
    """Source and corner pixels of each view, to 1e-6 mm: `full` has offsets, `flex` all nine parameters."""
    path = data_folder / "projections" / f"{name}.mha"
    projections, image = read_projections(path), itk.imread(str(path))
    scan, matrix = projections.geometry, matrices(path.with_suffix(".xml"))
    assert scan.projection_shape == (views, 64, 80)
    np.testing.assert_array_equal(projections.data, itk.array_from_image(image))
    assert projections.position == "HFS"
    source, detector, u, v = (getattr(scan, vector)[:, OURS_TO_RTK] for vector in VECTORS)
    expected = -np.linalg.solve(matrix[:, :, :3], matrix[:, :, 3:])[..., 0]
    np.testing.assert_allclose(source, expected, rtol=0, atol=1e-9)
    for row, column in ((0, 0), (0, 79), (63, 0), (63, 79)):
        pixel = detector + (row - 31.5) * v + (column - 39.5) * u
        x, y, w = (np.einsum("nij,nj->ni", matrix[:, :, :3], pixel) + matrix[:, :, 3]).T
        place = np.array(image.GetOrigin())[:2] + np.array(image.GetSpacing())[:2] * [column, row]
        np.testing.assert_allclose(np.stack([x / w, y / w], 1), np.broadcast_to(place, (views, 2)), rtol=0, atol=1e-9)


def test_a_circle(rtk_scan, integrals, circle):
    projections = read_projections(rtk_scan(integrals))
    np.testing.assert_array_equal(projections.data, integrals)
    assert projections.weights is None
    assert projections.notes == ()
    for vector in VECTORS:
        np.testing.assert_allclose(getattr(projections.geometry, vector), getattr(circle, vector), atol=1e-12)


@pytest.mark.parametrize("version", ["2", "3"])
def test_values_hold_until_the_next(tmp_path, version):
    path = tmp_path / "scan.xml"
    path.write_text(
        f'<RTKThreeDCircularGeometry version="{version}"><SourceToDetectorDistance>900</SourceToDetectorDistance>'
        "<SourceToIsocenterDistance>500</SourceToIsocenterDistance>"
        "<Projection><Angle>5</Angle><SourceOffsetX>1</SourceOffsetX></Projection>"
        "<SourceToIsocenterDistance>501</SourceToIsocenterDistance>"
        "<Projection><InPlaneAngle>2</InPlaneAngle></Projection>"
        "<Projection><GantryAngle>7</GantryAngle><SourceOffsetX>0</SourceOffsetX></Projection>"
        "</RTKThreeDCircularGeometry>"
    )
    values, notes = read_rtk_xml(path)
    assert notes == ()
    assert values["gantry_angle"].tolist() == [5, 5, 7]
    assert values["source_to_isocenter"].tolist() == [500, 501, 501]
    assert values["source_to_detector"].tolist() == [900, 900, 900]
    assert values["source_offset_x"].tolist() == [1, 1, 0]
    assert values["in_plane_angle"].tolist() == [0, 2, 2]


def test_matrices_of_rtk_s_own_files(data_folder):
    path = data_folder / "projections" / "flex.xml"
    values, _ = read_rtk_xml(path)
    for view, expected in enumerate(matrices(path)):
        found = projection_matrix({NAMES[name]: numbers[view] for name, numbers in values.items()})
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_collimation_is_told(rtk_scan, integrals):
    path = rtk_scan(integrals, extra="<CollimationUInf>40</CollimationUInf>")
    assert read_projections(path).notes == ("the collimation in the geometry file was not applied",)


@pytest.mark.parametrize("compression", [False, True])
@pytest.mark.parametrize("name", ["scan.mha", "scan.mhd", "scan.nrrd", "scan.nhdr"])
def test_stacks_of_itk(rtk_scan, integrals, name, compression):
    path = rtk_scan(integrals, name, compression=compression)
    np.testing.assert_array_equal(read_projections(path).data, integrals)
    some = read_projections(path, every=5)
    np.testing.assert_array_equal(some.data, integrals[::5])
    np.testing.assert_array_equal(some.geometry.source, read_projections(path).geometry.source[::5])


def test_big_endian(rtk_scan, integrals):
    path = rtk_scan(integrals)
    head, data = path.read_bytes().split(b"ElementDataFile = LOCAL\n")
    head = head.replace(b"MSB = False", b"MSB = True")
    path.write_bytes(head + b"ElementDataFile = LOCAL\n" + np.frombuffer(data, "<f4").astype(">f4").tobytes())
    np.testing.assert_array_equal(read_projections(path).data, integrals)


def test_gzip_inside_a_meta_image(rtk_scan, integrals):
    path = rtk_scan(integrals)
    head, data = path.read_bytes().split(b"CompressedData = False")
    names, data = data.split(b"ElementDataFile = LOCAL\n")
    path.write_bytes(head + b"CompressedData = True" + names + b"ElementDataFile = LOCAL\n" + gzip.compress(data))
    np.testing.assert_array_equal(read_projections(path).data, integrals)


def test_rows_that_fall(rtk_scan, integrals, circle):
    """ITK's axes may run against the detector's."""
    path = rtk_scan(integrals)
    data = path.read_bytes()
    for old, new in ((b"1 0 0 0 1 0 0 0 1", b"1 0 0 0 -1 0 0 0 1"), (b"-9.75 -9 0", b"-9.75 9 0")):
        assert old in data
        data = data.replace(old, new)
    path.write_bytes(data)
    scan = read_projections(path).geometry
    np.testing.assert_allclose(scan.v, -circle.v, atol=1e-12)
    np.testing.assert_allclose(scan.detector, circle.detector, atol=1e-12)


def test_one_file_a_view(tmp_path, save_stack, save_xml, integrals):
    (tmp_path / "views").mkdir()
    for view, image in enumerate(integrals):
        save_stack(tmp_path / "views" / f"p{view}.mha", image[None])
    xml = save_xml(tmp_path / "geometry.xml")
    for path in (tmp_path / "views", tmp_path / "views" / "p*.mha"):
        np.testing.assert_array_equal(read_projections(path, geometry=xml).data, integrals)
        np.testing.assert_array_equal(read_projections(path, geometry=xml, every=7).data, integrals[::7])


def test_images_without_a_pixel_size(tmp_path, save_xml, integrals, circle):
    np.save(tmp_path / "scan.npy", integrals)
    save_xml(tmp_path / "scan.xml")
    scan = read_projections(tmp_path / "scan.npy", detector_pitch=(2.0, 1.5)).geometry
    np.testing.assert_allclose(scan.detector, circle.detector, atol=1e-12)
    np.testing.assert_allclose(scan.u, circle.u, atol=1e-12)


def test_sixteen_bit_files_are_counts_with_65535_in_air(rtk_scan, integrals):
    """As RTK 2.7.0 reads them: 60,000 counts are 0.08823967."""
    numbers = np.round(65_535 * np.exp(-integrals)).astype(np.uint16)
    numbers[0, 0, 0] = 60_000
    projections = read_projections(rtk_scan(numbers))
    assert projections.data[0, 0, 0] == pytest.approx(0.08823967, abs=1e-6)
    np.testing.assert_allclose(projections.data[1:], integrals[1:], atol=1e-3)
    assert any("65535 in air, as RTK does" in note for note in projections.notes)
    assert any(
        "% of the rays at the detector's largest number (65535): they count as air" in note
        for note in projections.notes
    )
    other = read_projections(rtk_scan(numbers), air=66_000)
    assert other.data[0, 0, 0] == pytest.approx(np.log(1.1), abs=1e-6)


PEAK = """
import sys
from pathlib import Path
from monai_iscs.scans import read_projections

def peak():
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])

read_projections(sys.argv[1])
before = peak()
projections = read_projections(sys.argv[2], every=int(sys.argv[3]))
print((peak() - before) / projections.data.nbytes)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
@pytest.mark.parametrize(("compression", "every"), [(False, 1), (True, 1), (False, 2)])
def test_memory_is_that_of_the_result(data_folder, tmp_path, save_stack, save_xml, compression, every):
    """120 views of 512 x 384 pixels, 94 MB."""
    array = np.zeros((120, 384, 512), np.float32)
    array[:, ::3, ::5] = 1
    path = save_stack(tmp_path / "scan.mha", array, compression=compression)
    save_xml(path.with_suffix(".xml"), views=120, extra="<SourceToDetectorDistance>1500</SourceToDetectorDistance>")
    command = [sys.executable, "-c", PEAK, str(data_folder / "projections" / "full.mha"), str(path), str(every)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1.3
