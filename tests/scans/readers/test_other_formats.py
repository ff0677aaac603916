# SPDX-License-Identifier: Apache-2.0
"""ASTRA's vectors, Nikon, Data Exchange, the Helsinki challenge and, where itk-rtk is installed, Elekta."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest
from scipy.io import savemat

from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.operators.vectors import VECTORS
from monai_iscs.scans import read_projections, upright

h5py = pytest.importorskip("h5py")
tifffile = pytest.importorskip("tifffile")


@pytest.fixture
def vectors(circle) -> np.ndarray:
    """The twelve numbers of each view, cm."""
    return np.concatenate([getattr(circle, name) for name in VECTORS], 1) / 10


@pytest.mark.parametrize("name", ["v.npy", "scan.geom", "v.txt", "v.csv"])
def test_vectors(tmp_path, vectors, integrals, circle, name):
    file = tmp_path / name
    if name == "v.npy":
        np.save(file, vectors)
    else:
        np.savetxt(file, vectors, fmt="%.17g", delimiter=", " if name == "v.csv" else " ", header="source ...")
    np.save(tmp_path / "scan.npy", integrals)
    for unit in ("cm", 10):
        projections = read_projections(tmp_path / "scan.npy", geometry=file, unit=unit, kind="line-integrals")
        np.testing.assert_array_equal(projections.data, integrals)
        assert projections.position is None
        for vector in VECTORS:
            np.testing.assert_allclose(getattr(projections.geometry, vector), getattr(circle, vector), atol=1e-12)
    with pytest.raises(InputError, match=f"{file}: found vectors without a unit, expected one to be given: "):
        read_projections(tmp_path / "scan.npy", geometry=file)


def test_the_order_of_astra_s_arrays_and_sinograms(tmp_path, integrals, circle):
    """(rows, views, columns), and (views, columns) of a fan."""
    np.save(tmp_path / "astra.npy", integrals.transpose(1, 0, 2))
    read = read_projections(tmp_path / "astra.npy", geometry=circle, kind="line-integrals", every=5)
    np.testing.assert_array_equal(read.data, integrals[::5])
    np.save(tmp_path / "fan.npy", integrals[:, 4])
    fan = replace(circle, detector_shape=(1, 14))
    np.testing.assert_array_equal(
        read_projections(tmp_path / "fan.npy", geometry=fan, kind="line-integrals").data[:, 0], integrals[:, 4]
    )


def test_tiff_stacks(tmp_path, counts, circle):
    """One file of many pages, or one a view, with flat and dark images beside them, as the walnuts have it."""
    tifffile.imwrite(tmp_path / "pages.tif", counts)
    for view, image in enumerate(counts):
        tifffile.imwrite(tmp_path / f"scan_{view:06d}.tif", image)
    for number in range(2):
        tifffile.imwrite(tmp_path / f"io{number:06d}.tif", np.full(counts.shape[1:], 20_100, np.uint16))
    tifffile.imwrite(tmp_path / "di000000.tif", np.full(counts.shape[1:], 100, np.uint16))
    fields = {"geometry": circle, "flat": tmp_path / "io*.tif", "dark": tmp_path / "di000000.tif"}
    pages = read_projections(tmp_path / "pages.tif", **fields)
    files = read_projections(tmp_path / "scan_*.tif", **fields)
    expected = -np.log((counts - 100.0) / 20_000)
    np.testing.assert_allclose(pages.data, expected, atol=1e-5)
    np.testing.assert_array_equal(files.data, pages.data)
    np.testing.assert_array_equal(read_projections(tmp_path / "scan_*.tif", every=4, **fields).data, pages.data[::4])
    with pytest.raises(
        InputError, match=r"found di\*\.tif, io\*\.tif, pages\.tif, scan_\*\.tif, expected numbered files"
    ):
        read_projections(tmp_path, **fields)


XTEKCT = """[XTekCT]
Name=bone
InputSeparator=_
InputFolderName={folder}
SrcToObject=100
SrcToDetector=150
DetectorPixelsX=14
DetectorPixelsY=10
DetectorPixelSizeX=1.5
DetectorPixelSizeY=2.0
DetectorOffsetX=0.5
DetectorOffsetY=-1.25
InitialAngle=180
AngularStep=30
Projections=12
WhiteLevel=20000
{more}
[Xrays]
XraykV=130
"""


@pytest.fixture
def nikon(tmp_path, integrals):
    """``nikon(more)``: a scan of Nikon's in files, with more lines in its `.xtekct`."""

    def save(more: str = "", folder: str = ""):
        (tmp_path / folder).mkdir(exist_ok=True)
        for view, image in enumerate(np.round(20_000 * np.exp(-integrals)).astype(np.uint16)):
            tifffile.imwrite(tmp_path / folder / f"bone_{view + 1:04d}.tif", image)
        (tmp_path / "bone.xtekct").write_text(XTEKCT.format(more=more, folder=folder), encoding="latin-1")
        return tmp_path / "bone.xtekct"

    return save


def test_nikon(nikon, integrals, tmp_path):
    """The first view from −y, the source counter-clockwise, columns towards −x then, and the first row on top."""
    projections = read_projections(nikon())
    np.testing.assert_allclose(projections.data, integrals, atol=1e-2)
    scan = projections.geometry
    np.testing.assert_allclose(scan.source[[0, 3, 6]], [[0, -100, 0], [100, 0, 0], [0, 100, 0]], atol=1e-9)
    np.testing.assert_allclose(scan.detector[[0, 3]], [[-0.5, 50, -1.25], [-50, -0.5, -1.25]], atol=1e-9)
    np.testing.assert_allclose(scan.u[[0, 3]], [[-1.5, 0, 0], [0, -1.5, 0]], atol=1e-9)
    np.testing.assert_allclose(scan.v, np.tile([0, 0, -2.0], (12, 1)), atol=1e-9)
    apart = read_projections(tmp_path / "bone_*.tif", geometry=tmp_path / "bone.xtekct")
    assert apart.geometry == scan
    np.testing.assert_array_equal(apart.data, projections.data)


def test_the_axis_of_nikon(nikon):
    """Old files have it at the detector, new ones at the object; its ends apart are a tilt in the detector's plane."""
    old = read_projections(nikon("CentreOfRotationTop=3\nCentreOfRotationBottom=3", "images")).geometry
    np.testing.assert_allclose(old.source[0], [2, -100, 0], atol=1e-9)
    assert old == read_projections(nikon("ObjectOffsetX=2", "images")).geometry
    tilted = read_projections(nikon("CentreOfRotationTop=4\nCentreOfRotationBottom=2")).geometry
    rolled = read_projections(nikon(f"ObjectOffsetX=2\nObjectRoll={-float(np.degrees(np.arctan2(2, 20)))!r}")).geometry
    np.testing.assert_allclose(tilted.v, rolled.v, atol=1e-12)
    np.testing.assert_allclose(tilted.v[0] @ [0, 0, -1], 2 * np.cos(np.arctan2(2, 20)), atol=1e-12)
    leaning = read_projections(nikon("ObjectTilt=3")).geometry
    np.testing.assert_allclose(leaning.v[:, 2], -2 * np.cos(np.radians(3)), atol=1e-12)
    assert not leaning.is_upright


@pytest.fixture
def data_exchange(tmp_path):
    """``data_exchange(axis)``: 61 parallel views of a disk over 180°, columns of 0.5 mm, and its line integrals."""

    def save(axis: float = 22.3, *, arc: float = 180.0, units: str = "degrees"):
        theta = np.linspace(0, arc, 61)
        shift = 0.5 * (np.arange(48) - axis) - (3 * np.cos(np.radians(theta)) + 2 * np.sin(np.radians(theta)))[:, None]
        integrals = np.stack([0.4 * np.sqrt(np.maximum(radius**2 - shift**2, 0)) for radius in (4, 3, 2)], 1)
        with h5py.File(tmp_path / "tooth.h5", "w") as file:
            file["exchange/data"] = (9_000 * np.exp(-integrals) + 50).astype(np.float32)
            file["exchange/data_white"] = np.full((4, 3, 48), 9_050, np.float32)
            file["exchange/data_dark"] = np.full((2, 3, 48), 50, np.float32)
            file["exchange/theta"] = theta if units == "degrees" else np.radians(theta)
            file["exchange/theta"].attrs["units"] = units
        return tmp_path / "tooth.h5", integrals

    return save


@pytest.mark.parametrize("axis", [22.3, 26.9])
def test_data_exchange(data_exchange, axis):
    path, integrals = data_exchange(axis)
    projections = read_projections(path, detector_pitch=0.5)
    np.testing.assert_allclose(projections.data, integrals, atol=1e-5)
    found = float(projections.notes[0].removeprefix("the rotation axis was found in column ").split(",")[0])
    assert found == pytest.approx(axis, abs=0.1)
    scan = read_projections(path, detector_pitch=0.5, axis_column=axis).geometry
    # the ray through the middle of the disk meets the column that sees it
    theta, middle = np.radians(np.linspace(0, 180, 61)), np.array([3.0, 2.0, 0.0])
    depth = ((middle - scan.source) * scan.normals).sum(1) / scan.plane_depth
    seen = scan.source + (middle - scan.source) / depth[:, None] - scan.detector
    place = (seen * scan.u).sum(1) / (scan.u**2).sum(1) + 23.5
    np.testing.assert_allclose(place, axis + (3 * np.cos(theta) + 2 * np.sin(theta)) / 0.5, atol=1e-3)


def test_data_exchange_in_radians(data_exchange):
    path, _ = data_exchange(units="rad")
    other = read_projections(path, detector_pitch=(0.25, 0.5), axis_column=20).geometry
    path, _ = data_exchange()
    same = read_projections(path, detector_pitch=(0.25, 0.5), axis_column=20).geometry
    np.testing.assert_allclose(other.source, same.source, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(same.v, axis=1), 0.25, rtol=1e-3)


PARAMETERS = {
    "distanceSourceOrigin": 410.66,
    "distanceSourceDetector": 553.74,
    "distanceUnit": "mm",
    "angles": np.arange(0, 360, 30.0),
    "pixelSize": 0.05,
    "pixelSizePost": 0.2,
}


def helsinki(tmp_path, **scans):
    savemat(tmp_path / "ta.mat", {name: {"type": "2d", **scan} for name, scan in scans.items()})
    return tmp_path / "ta.mat"


def test_helsinki(tmp_path, integrals):
    sinogram = integrals[:, 4].astype(np.float64)
    full = {"sinogram": sinogram, "parameters": PARAMETERS}
    limited = {"sinogram": sinogram[:3], "parameters": {**PARAMETERS, "angles": [0.0, 30, 60]}}
    projections = read_projections(helsinki(tmp_path, CtDataFull=full, CtDataLimited=limited))
    np.testing.assert_array_equal(projections.data[:, 0], integrals[:, 4])
    assert projections.notes == ("CtDataFull was read; the file holds CtDataLimited, too",)
    assert projections.geometry == ConeBeamGeometry.circular(
        source_to_isocenter=410.66,
        source_to_detector=553.74,
        angles=np.radians(PARAMETERS["angles"]),
        detector_shape=(1, 14),
        detector_pitch=(0.2, 0.2),
    )
    assert len(read_projections(helsinki(tmp_path, CtData=limited)).data) == 3


def test_helsinki_in_a_new_matlab_file(tmp_path, integrals):
    """Version 7.3 is HDF5, with its arrays the other way round and text as numbers."""
    with h5py.File(tmp_path / "ta.mat", "w", userblock_size=512) as file:
        file["CtDataFull/sinogram"] = integrals[:, 4].T.astype(np.float64)
        for name, value in PARAMETERS.items():
            text = isinstance(value, str)
            array = np.array([[ord(letter)] for letter in value], np.uint16) if text else np.atleast_2d(value).T
            file[f"CtDataFull/parameters/{name}"] = array
            file[f"CtDataFull/parameters/{name}"].attrs["MATLAB_class"] = np.bytes_("char" if text else "double")
    header = b"MATLAB 7.3 MAT-file".ljust(116) + bytes(8) + b"\x00\x02IM"
    with (tmp_path / "ta.mat").open("r+b") as file:
        file.write(header)
    found = read_projections(tmp_path / "ta.mat")
    expected = read_projections(
        helsinki(tmp_path, CtData={"sinogram": integrals[:, 4].astype(np.float64), "parameters": PARAMETERS})
    )
    np.testing.assert_array_equal(found.data, expected.data)
    assert found.geometry == expected.geometry


def test_elekta_through_rtk(tmp_path, integrals):
    """Built by the description of the `.his` format: counts are stored as 65536 minus themselves."""
    pytest.importorskip("itk.RTKPython")
    wide = np.pad(integrals, ((0, 0), (4, 4), (4, 4)))  # RTK cuts four pixels off each side
    for view, image in enumerate(65_536 - np.round(60_000 * np.exp(-wide))):
        header = struct.pack("<4B6xH4HH10xBxB", 0, 112, 68, 0, 32, 1, 1, 18, 22, 1, 4, 0).ljust(68 + 32, b"\0")
        (tmp_path / f"{view:05d}.his").write_bytes(header + image.astype("<u2").tobytes())
    frames = "".join(
        f"<Frame><GantryAngle>{30 * view}</GantryAngle><UCentre>1.5</UCentre><VCentre>-2</VCentre></Frame>"
        for view in range(12)
    )
    (tmp_path / "_Frames.xml").write_text(f"<ProjectionSet><Frames>{frames}</Frames></ProjectionSet>")
    projections = read_projections(tmp_path, geometry=tmp_path / "_Frames.xml", air=60_000)
    np.testing.assert_allclose(projections.data, integrals, atol=2e-3)
    assert projections.position == "HFS"
    assert projections.notes == ("RTK turned the counts into line integrals, with 60000 counts in air",)
    scan = projections.geometry
    np.testing.assert_allclose(scan.source[3], [0, 1000, 0], atol=1e-9)
    np.testing.assert_allclose(scan.detector[0], [-536, -1.5, 2], atol=1e-9)
    some = read_projections(tmp_path, geometry=tmp_path / "_Frames.xml", air=60_000, every=5)
    np.testing.assert_array_equal(some.data, projections.data[::5])


def test_images_that_are_turned_against_their_vectors(tmp_path, vectors, integrals, circle):
    """As in `docs/projections.md`: stored in reverse order, transposed and mirrored."""
    np.save(tmp_path / "scan.npy", np.stack([np.flipud(image.T) for image in integrals])[::-1])
    v = vectors[::-1]
    geometry = ConeBeamGeometry.from_vectors(np.hstack([v[:, :6], v[:, 9:], -v[:, 6:9]]), detector_shape=(14, 10))
    scan = upright(read_projections(tmp_path / "scan.npy", geometry=geometry, kind="line-integrals"))
    np.testing.assert_allclose(scan.data.flip(0), integrals, atol=1e-5)
    np.testing.assert_allclose(10 * scan.geometry.u[::-1], circle.u, atol=1e-12)
