# SPDX-License-Identifier: Apache-2.0
"""Files of projections that can't be right: one line names the file, what was found and what was expected."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.operators.vectors import VECTORS
from monai_iscs.scans import read_projections

h5py = pytest.importorskip("h5py")
tifffile = pytest.importorskip("tifffile")


@pytest.fixture
def refused(capfd) -> Callable[..., None]:
    """``refused(path, message, **options)``: reading fails in one line that names a file and has this in it."""

    def check(path: Path, message: str, *, names: str | None = None, **options: Any) -> None:
        with pytest.raises(InputError) as error:
            read_projections(path, **options)
        line = str(error.value)
        assert "\n" not in line
        assert len(line) < 500
        assert line.startswith(names if names is not None else f"{path}: ")
        assert re.search(message, line), line
        assert "found" in line or "can't be read, truncated or damaged? (" in line
        assert capfd.readouterr() == ("", "")  # nothing of ITK's

    return check


def replaced(path: Path, *changes: tuple[str, str]) -> Path:
    data = path.read_bytes()
    for old, new in changes:
        assert old.encode() in data
        data = data.replace(old.encode(), new.encode(), 1)
    path.write_bytes(data)
    return path


HEAD = "<SourceToIsocenterDistance>100<"
GEOMETRIES = {
    "empty": ("", "", "can't be read, truncated or damaged"),
    "truncated": ("</RTKThreeDCircularGeometry>", "", "can't be read, truncated or damaged"),
    "not xml": (HEAD, "<<", "can't be read, truncated or damaged"),
    "another root": ("RTKThreeDCircularGeometry", "Frames", "found <Frames version='3'>, expected <RTKThreeDCirc"),
    "old version": ('version="3"', 'version="1"', "version='1'>, expected .* of version 2 or 3"),
    "no number": ("<GantryAngle>0.0<", "<GantryAngle>zero<", "found 'zero' as <GantryAngle>, expected 1 finite number"),
    "NaN": ("<GantryAngle>0.0<", "<GantryAngle>nan<", "found 'nan' as <GantryAngle>"),
    "no angle": ("<GantryAngle>0.0<", "<GantryAngle><", "found '' as <GantryAngle>"),
    "unknown entry": (HEAD, "<Tilt>1</Tilt>" + HEAD, "found <Tilt>, expected GantryAngle"),
    "parallel": ("Distance>150<", "Distance>0<", "found SourceToDetectorDistance 0 in projection 0, .*parallel rays"),
    "negative": ("Distance>100<", "Distance>-100<", "found SourceToIsocenterDistance -100 in projection 0"),
    "cylinder at the end": (
        "</RTKThreeD",
        "<RadiusCylindricalDetector>400</RadiusCylindricalDetector></RTKThreeD",
        "a cylindrical detector",
    ),
    "to the detector from the axis": (
        "Distance>150<",
        "Distance>50<",
        r"found a source 100 mm from the rotation axis and 50 mm from the detector in view 0, expected the axis",
    ),
    "cylinder": (HEAD, "<RadiusCylindricalDetector>400</RadiusCylindricalDetector>" + HEAD, "a cylindrical detector"),
    "short matrix": ("</Projection>", "<Matrix>1 2 3</Matrix></Projection>", "found '1 2 3' as <Matrix>, expected 12"),
    "another matrix": (
        "</Projection>",
        f"<Matrix>{' '.join(['1'] * 12)}</Matrix></Projection>",
        "found a matrix in projection 0 that differs from its parameters by",
    ),
}


@pytest.mark.parametrize(("old", "new", "message"), GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_rtk_s_xml(rtk_scan, refused, integrals, old, new, message):
    xml = rtk_scan(integrals).with_suffix(".xml")
    content = xml.read_text()
    assert old in content
    xml.write_text(content.replace(old, new, -1 if new == "Frames" else 1) if old else "")
    refused(xml.with_suffix(".mha"), message, names=f"{xml}: ")


def test_an_xml_without_views(rtk_scan, refused, integrals):
    path = rtk_scan(integrals, views=0)
    refused(path, "found no <Projection> in it", names=str(path.with_suffix(".xml")))


STACKS = {
    "no pixel size": (("ElementSpacing = 1.5 2 1\n", ""), "found no pixel size in its header"),
    "turned": (("1 0 0 0 1 0 0 0 1", "0 1 0 -1 0 0 0 0 1"), "found turned axes"),
    "cm": (("ObjectType", "DistanceUnits = cm\nObjectType"), "found pixels in cm, expected mm"),
    "scaled": (("DimSize", "ElementToIntensityFunctionSlope = 2\nDimSize"), "found a scaling of its values"),
    "text": (("BinaryData = True", "BinaryData = False"), "found text in its header, expected raw"),
    "vectors": (("DimSize = 14", "ElementNumberOfChannels = 2\nDimSize = 7"), "pixels of 2 numbers, expected"),
    "more views": (("14 10 12", "14 10 13"), r"found 6,720 bytes of pixels, expected 7,280 \(13 x 10 x 14"),
    "fewer views": (("14 10 12", "14 10 11"), "found 6,720 bytes of pixels, expected 6,160"),
    "no pixels": (("LOCAL", "scan.raw"), "found no file 'scan.raw' beside it"),
    "a list": (("LOCAL", "LIST"), "found no file 'LIST' beside it"),
}


@pytest.mark.parametrize(("change", "message"), STACKS.values(), ids=STACKS.keys())
def test_stacks(rtk_scan, refused, integrals, change, message):
    refused(replaced(rtk_scan(integrals), change), message)


def test_damaged_bytes(rtk_scan, refused, integrals):
    noisy = integrals + np.random.default_rng(0).random(integrals.shape, np.float32)
    path = rtk_scan(noisy, compression=True)
    whole = path.read_bytes()
    for data, message in (
        (whole[:-500], "found compressed pixels without an end, truncated"),
        (whole[:-2], "found compressed pixels without an end, truncated"),
        (whole[:-1500] + bytes(40) + whole[-1460:], "can't be read, truncated or damaged|found"),
        (whole[:-4] + b"four", "can't be read, truncated or damaged"),
        (whole[:200], "found no .*ElementDataFile in its header, expected a MetaImage"),
        (b"", "found no NDims, DimSize"),
    ):
        path.write_bytes(data)
        refused(path, message)
    head, _, _ = whole.partition(b"LOCAL\n")
    path.write_bytes(head + b"LOCAL\n" + zlib.compress(noisy.tobytes() + b"more"))
    refused(path, "found bytes behind its last view, expected 12 views")


NUMBERS = {
    "NaN": (lambda p: np.where(p == p.max(), np.nan, p), {}, r"found NaN or infinite values in 1 pixels of view \d"),
    "infinite": (lambda p: np.where(p == p.max(), np.inf, p), {}, "found NaN or infinite values"),
    "counts as float": (lambda p: np.round(900 * np.exp(-p)), {}, "integrals of up to 900, .*kind counts"),
    "large": (lambda p: 2000 * p, {}, "found line integrals of up to 3195, expected at most 20"),
    "the same": (lambda p: 0 * p, {}, "found 0 in every pixel, expected line integrals of an object"),
    "negative": (lambda p: -p, {}, "found line integrals of -0.0?[0-9.]+ in the mean, expected positive ones"),
    "transmission": (lambda p: np.exp(-p), {}, r"found values of 1 at .* fall to 0\.[0-9]+ in .*kind transmission"),
    "no counts": (lambda p: (p < 1).astype(np.uint16), {}, "rays without a count .* expected at most 5%"),
    "negative counts": (lambda p: np.round(p).astype(np.int16) - 1, {"air": 9}, "rays without a count|dead pixels"),
    "air too low": (lambda p: (900 * np.exp(-p)).astype(np.uint16), {"air": 100}, "in the mean, expected positive"),
    "32 bits": (lambda p: (900 * np.exp(-p)).astype(np.int32), {}, r"found counts \(int32\) without an air value"),
    "air of integrals": (lambda p: p, {"air": 900}, "air: found one for line-integrals, expected none, or kind counts"),
    "flat of integrals": (lambda p: p, {"flat": np.ones((10, 14))}, "flat: found one for line-integrals"),
    "air of shares": (lambda p: np.exp(-p), {"kind": "transmission", "air": 3}, "air: found one for transmission"),
    "small flat": (lambda p: np.exp(-p), {"kind": "counts", "flat": np.ones((9, 14))}, r"flat: found \(9, 14\) pixels"),
    "NaN in the flat": (
        lambda p: np.exp(-p),
        {"kind": "counts", "flat": np.full((10, 14), np.nan)},
        "flat: found NaN or infinite values",
    ),
    "complex flat": (lambda p: p, {"kind": "counts", "flat": np.ones((10, 14), complex)}, "flat: found shape"),
    "dark too bright": (
        lambda p: 90 + np.exp(-p),
        {"kind": "counts", "air": 91, "dark": np.full((10, 14), 95.0)},
        r"found -4 counts of air above the dark field, expected more \(flat and dark swapped\?\)",
    ),
    "many dead pixels": (
        lambda p: 900 * np.exp(-p),
        {"kind": "counts", "flat": 900 * (np.arange(140).reshape(10, 14) % 9 > 0)},
        r"found 16 dead pixels \(11\.4% of all rays\), expected at most 5%",
    ),
}


@pytest.mark.parametrize(("change", "options", "message"), NUMBERS.values(), ids=NUMBERS.keys())
def test_numbers(rtk_scan, refused, integrals, change, options, message):
    array = change(integrals)
    path = rtk_scan(array.astype(np.float32) if array.dtype == np.float64 else array)
    refused(path, message, **options)


def test_most_views_without_a_beam(rtk_scan, refused, counts):
    array = counts.copy()
    array[5:] = 0
    said = r"found no image in 7 of 12 views \(5, 6, 7, 8, 9, 10, 11: .*, expected at most 50% of them to be blank"
    refused(rtk_scan(array), said, air=20_100)


def test_geometries_that_no_scanner_has(tmp_path, refused):
    """In one line, before anything is computed, which names the geometry's file."""
    images, file = tmp_path / "p.npy", tmp_path / "v.npy"
    np.save(images, np.random.default_rng(0).random((12, 10, 14)))
    settings = {"source_to_isocenter": 600.0, "source_to_detector": 1000.0, "detector_shape": (10, 14)}

    def written(scan: ConeBeamGeometry) -> dict[str, Any]:
        np.save(file, np.hstack([scan.source, scan.detector, scan.u, scan.v]))
        return {"geometry": file, "unit": "mm", "kind": "line-integrals", "names": f"{file}: "}

    def circle(pitch: float = 20.0, **changes: Any) -> ConeBeamGeometry:
        return ConeBeamGeometry.circular(**{**settings, "views": 12, "detector_pitch": (pitch, pitch), **changes})

    still = ConeBeamGeometry.circular(**settings, detector_pitch=(20, 20), angles=[1.0] * 12)
    refused(images, "found 12 views from one and the same place, expected a source that moves", **written(still))
    beside = circle(detector_offset=(0, 200))
    said = r"found the rotation axis at detector column -3\.5, expected -0\.5 to 13\.5: no view sees it"
    refused(images, said, **written(beside))
    wide = circle(pitch=160.0)
    refused(images, r"found rays of up to 48\.2 degrees from the one through the rotation axis", **written(wide))
    options = written(circle(arc=6.28))
    del options["names"]
    assert any("an arc of 6.3 degrees" in note for note in read_projections(images, **options).notes)
    options = written(circle(detector_offset=(0, 139)))  # a half-fan whose first column sees the axis
    del options["names"]
    assert read_projections(images, **options).notes == ()


OPTIONS = {
    "kind": ({"kind": "photons"}, "kind: found 'photons', expected line-integrals, transmission, counts"),
    "position": ({"position": "LFS"}, "position: found 'LFS', expected HFS, HFP, FFS, FFP, RAS"),
    "every": ({"every": 0}, "every: found 0, expected a whole number of at least 1"),
    "half": ({"every": 1.5}, "every: found 1.5, expected a whole number"),
    "air": ({"air": -3}, "air: found -3, expected a positive count"),
    "air and flat": ({"air": 3, "flat": "f.tif"}, "air, flat: found both, expected one of the two"),
    "unit": ({"unit": "furlong"}, "unit: found 'furlong', expected um, mm, cm, m, or mm in one unit"),
    "negative unit": ({"unit": -1}, "unit: found -1, expected"),
    "axis": ({"axis_column": float("nan")}, "axis_column: found nan, expected a column, counted from 0"),
    "pitch": ({"detector_pitch": (1, 2, 3)}, r"detector_pitch: found \(1, 2, 3\), expected the size of a pixel in mm"),
    "zero pitch": ({"detector_pitch": 0}, "detector_pitch: found 0, expected the size of a pixel in mm"),
}


@pytest.mark.parametrize(("options", "message"), OPTIONS.values(), ids=OPTIONS.keys())
def test_options(tmp_path, refused, options, message):
    refused(tmp_path / "scan.mha", message, names="", **options)


def test_options_that_the_format_has_no_use_for(rtk_scan, refused, integrals):
    path = rtk_scan(integrals)
    refused(path, "unit: found one, expected none: the geometry says it already", unit="mm")
    refused(path, "axis_column: found one, expected none", axis_column=7)
    refused(path, "detector_pitch: found one, expected none: the images have their own", detector_pitch=1)
    refused(path, "every: found 12 with 12 views, expected fewer than there are", every=12)


def test_views(rtk_scan, refused, integrals):
    refused(rtk_scan(integrals, views=11), "found 12 images, expected the geometry's 11 views")
    refused(rtk_scan(integrals[:9]), "found 9 images, expected the geometry's 12 views")


def test_units_that_are_mixed(rtk_scan, refused, integrals):
    small = "<SourceToIsocenterDistance>0.1</SourceToIsocenterDistance>"
    far = "<SourceToDetectorDistance>0.15</SourceToDetectorDistance>"
    path = rtk_scan(integrals, extra=small + far)
    names = str(path.with_suffix(".xml"))
    refused(path, r"rays of 89\.\d degrees, expected at most 75 \(another unit\?\)", names=names)
    large = "<SourceToDetectorDistance>150000000</SourceToDetectorDistance>"
    refused(rtk_scan(integrals, extra=large), r"expected a wider fan \(another unit\?\)", names=names)


def test_files(tmp_path, rtk_scan, save_stack, save_xml, refused, integrals, counts):
    refused(tmp_path / "scan.mha", "found no such file or folder, expected projections")
    refused(tmp_path / "p*.mha", "found no geometry")
    (tmp_path / "folder").mkdir()
    xml = save_xml(tmp_path / "folder.xml")
    refused(tmp_path / "folder", "found no images in it, expected .mha, .mhd", geometry=xml)
    refused(tmp_path / "folder" / "p*.mha", "found no images in it", geometry=xml)
    for view in (0, 1, 2, 4):
        save_stack(tmp_path / "folder" / f"p{view}.mha", integrals[view][None])
    refused(tmp_path / "folder", r"found p2\.mha and then p4\.mha, expected 3", geometry=xml)
    part = tmp_path / "folder" / "p3.mha"
    save_stack(part, counts[3][None])
    refused(
        tmp_path / "folder",
        "found 10 x 14 pixels of uint16, expected 10 x 14 of float32",
        geometry=xml,
        names=str(part),
    )
    save_stack(part, integrals[3][None, 1:])
    refused(tmp_path / "folder", "found 9 x 14 pixels of float32, expected 10 x 14", geometry=xml, names=str(part))
    path = rtk_scan(integrals)
    refused(path, "found no such file or folder", geometry=tmp_path / "no.xml", names=f"{tmp_path / 'no.xml'}: ")
    refused(path, "found .dat, expected a geometry: .xml", geometry=tmp_path / "no.dat", names=str(tmp_path / "no.dat"))
    refused(path.rename(path.with_suffix(".png")), r"found \.png, expected images: \.mha", geometry=xml)
    np.save(tmp_path / "scan.npy", integrals)
    refused(tmp_path / "scan.npy", r"found images without a pixel size, expected a detector_pitch \(mm", geometry=xml)
    (tmp_path / "scan.tif").write_bytes(b"II*\0nothing")
    refused(tmp_path / "scan.tif", "can't be read, truncated or damaged", geometry=xml, detector_pitch=1)
    tifffile.imwrite(tmp_path / "scan.tif", np.zeros((10, 14, 3), np.uint8), photometric="rgb")
    refused(
        tmp_path / "scan.tif", r"found an image \(10, 14, 3\) of uint8, expected grey", geometry=xml, detector_pitch=1
    )
    for array in (np.zeros((2, 3), complex), np.zeros(3), np.zeros((3, 0, 2))):
        np.save(tmp_path / "scan.npy", array)
        refused(tmp_path / "scan.npy", "found shape .* expected real numbers", geometry=xml, detector_pitch=1)


def text(vectors: np.ndarray) -> str:
    return "\n".join(" ".join(map(repr, row)) for row in vectors.tolist())


VECTORS_FILES = {
    "a fan": (lambda v: text(v[:, :6]), "found 6 numbers in a line, expected 12"),
    "ragged": (lambda v: text(v) + "\n1 2 3", "found 3 or 12 numbers in a line"),
    "nothing": (lambda v: "# nothing", "found no numbers in a line"),
    "words": (lambda v: "zero" + text(v), "found text in it"),
    "NaN": (lambda v: "nan " + text(v).partition(" ")[2], "found NaN or infinite values, expected finite mm"),
    "no area": (lambda v: text(np.where(np.arange(12) > 8, 0, v)), "u, v: found a detector without area"),
    "source at the detector": (lambda v: text(np.hstack([v[:, 3:6], v[:, 3:]])), "source: found one in the detector's"),
}


@pytest.fixture
def vectors(circle) -> np.ndarray:
    return np.concatenate([getattr(circle, name) for name in VECTORS], 1)


@pytest.mark.parametrize(("change", "message"), VECTORS_FILES.values(), ids=VECTORS_FILES.keys())
def test_vectors(tmp_path, refused, integrals, vectors, change, message):
    np.save(tmp_path / "scan.npy", integrals)
    (tmp_path / "scan.geom").write_text(change(vectors))
    refused(
        tmp_path / "scan.npy", message, geometry=tmp_path / "scan.geom", unit="mm", names=str(tmp_path / "scan.geom")
    )


def test_arrays_with_vectors(tmp_path, refused, integrals, counts, vectors, circle):
    np.save(tmp_path / "v.npy", vectors[:, :6])
    np.save(tmp_path / "scan.npy", integrals)
    scan, given = tmp_path / "scan.npy", {"geometry": tmp_path / "v.npy", "unit": "mm"}
    refused(
        scan, r"found shape \(12, 6\) of float64, expected numbers \(views, 12\)", **given, names=str(tmp_path / "v")
    )
    np.save(tmp_path / "v.npy", vectors[:11])
    refused(scan, "found 12 images, expected the geometry's 11 views", **given)
    refused(scan, "found float32 numbers in a format that doesn't say what they are", geometry=circle)
    np.save(scan, counts)
    refused(scan, r"found counts \(uint16\) without an air value, expected flat \(images", geometry=circle)
    np.save(scan, integrals[:, 1:])
    refused(scan, "found 9 x 14 pixels, expected the geometry's 10 x 14", geometry=circle, kind="line-integrals")
    np.save(scan, counts)
    refused(scan, "found no such file or folder", geometry=circle, flat=tmp_path / "no.npy", names=str(tmp_path / "no"))


def entry(*keys: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(found: dict[str, Any]) -> None:
        for key in keys[:-1]:
            found = found[key]
        found[keys[-1]] = value

    return change


SCENARIOS = {
    "deviations": (entry("geometry", "source", "deviations", value=[{"amount": 1}]), "found deviations of the source"),
    "old deviations": (entry("geometry", "stage", "deviation", value={"x": 1}), "found deviations of the stage"),
    "drifts": (entry("geometry", "detector", "center", "x", "drifts", value=[1]), "found drifts of detector center x"),
    "parallel": (entry("geometry", "source", "type", value="parallel"), "found a source of type 'parallel', expected"),
    "unit": (entry("geometry", "source", "center", "x", "unit", value="inch"), "found 1 inch as source center x"),
    "no value": (entry("geometry", "source", "center", "x", "value", value=None), "found None mm as source center x"),
    "in the stage": (entry("geometry", "detector", "center", value={"u": 1}), "center of the detector in u, expected"),
    "skew": (entry("geometry", "stage", "vector_u", "z", "value", value=1), "vector_w of the stage at no right angle"),
    "backwards": (entry("acquisition", "stop_angle", "value", value=-3), "7 views from 10 to -3 degrees CW, expected"),
    "sense": (entry("acquisition", "direction", value="left"), "degrees left, expected"),
    "another detector": (
        entry("detector", "columns", "value", value=9),
        "found 9 columns of 1.5 mm, expected the meta",
    ),
    "no stage": (lambda found: found["geometry"].pop("stage"), "found no entry 'stage' in it, expected one"),
}


@pytest.mark.parametrize(("change", "message"), SCENARIOS.values(), ids=SCENARIOS.keys())
def test_ctsimu_scenarios(ctsimu_scan, refused, tmp_path, change, message):
    path, file = ctsimu_scan(), tmp_path / "scenario.json"
    scenario = json.loads(file.read_text())
    change(scenario)
    file.write_text(json.dumps(scenario))
    refused(path, message, names=f"{path.parent}/../scenario.json: ")


def test_ctsimu_files(ctsimu_scan, refused, tmp_path):
    path = ctsimu_scan(number_of_projections=8)
    scenario = tmp_path / "scenario.json"
    refused(scenario, "found no 'output' in it, expected CTSimU metadata")
    refused(path, "found 7 images, expected the geometry's 8 views")
    scenario.write_text("{")
    refused(path, "can't be read, truncated or damaged", names=f"{path.parent}/../scenario.json: ")
    scenario.write_text("[]")
    refused(path, "found no object in it", names=f"{path.parent}/../scenario.json: ")


def test_ctsimu_images(ctsimu_scan, refused):
    path = ctsimu_scan()
    raw, dark = path.parent / "scan.raw", path.parent / "dark.raw"
    whole = raw.read_bytes()
    raw.write_bytes(whole[:-2])
    refused(path, "found 670 bytes of pixels, expected 576", names=f"{raw}: ")
    raw.write_bytes(whole[:-96])
    refused(path, "found 6 images, expected the metadata's 7", names=f"{raw}: ")
    raw.write_bytes(whole)
    dark.unlink()
    refused(path, "found no such file, expected images of the scan", names=f"{dark}: ")


@pytest.fixture
def nikon(tmp_path, counts) -> Path:
    for view, image in enumerate(counts):
        tifffile.imwrite(tmp_path / f"bone_{view + 1:04d}.tif", image)
    (tmp_path / "bone.xtekct").write_text(
        "[XTekCT]\nName=bone\nSrcToObject=100\nSrcToDetector=150\nDetectorPixelsX=14\nDetectorPixelsY=10\n"
        "DetectorPixelSizeX=1.5\nDetectorPixelSizeY=2\nAngularStep=30\nProjections=12\nWhiteLevel=20100\n"
    )
    return tmp_path / "bone.xtekct"


NIKON = {
    "section": ("[XTekCT]", "[Other]", r"found no section \[XTekCT\] in it"),
    "no number": ("=100", "=far", "found 'far' as SrcToObject, expected a number"),
    "missing": ("WhiteLevel", "Level", "found '' as WhiteLevel, expected a number"),
    "nearer": ("=150", "=50", "found SrcToObject 100, SrcToDetector 50 and pixels of 2 x 1.5 mm, expected"),
    "pixels": ("SizeX=1.5", "SizeX=-1.5", "pixels of 2 x -1.5 mm, expected positive lengths"),
    "no views": ("Projections=12", "Projections=0", "found shape"),
    "views": ("Projections=12", "Projections=13", "found 12 images, expected the geometry's 13 views"),
    "rows": ("PixelsY=10", "PixelsY=11", "found 10 x 14 pixels, expected the geometry's 11 x 14"),
    "images": ("Name=bone", "Name=tooth", r"found no \S+tooth_\*\.tif, expected its projections"),
    "folder": ("Name=bone", "Name=bone\nInputFolderName=elsewhere", "found no .*elsewhere"),
}


@pytest.mark.parametrize(("old", "new", "message"), NIKON.values(), ids=NIKON.keys())
def test_nikon(nikon, refused, old, new, message):
    refused(replaced(nikon, (old, new)), message)


def test_nikon_with_another_geometry(nikon, refused, circle):
    refused(nikon, "geometry: found one, expected none: the file has its own", geometry=circle)


TOOTH = {
    "no data": (lambda file: file.pop("exchange/data"), {}, "found no exchange/data in it, expected Data Exchange"),
    "no angles": (lambda file: file.pop("exchange/theta"), {}, "found no exchange/theta in it"),
    "a number": (lambda file: file.update({"exchange/data": 3.0}), {}, r"found exchange/data \(\) of float64"),
    "fewer angles": (
        lambda file: file.update({"exchange/theta": np.arange(11.0)}),
        {},
        "found 11 angles in exchange/theta, expected one for each of 12 images",
    ),
    "white": (
        lambda file: file.update({"exchange/data_white": np.ones((2, 9, 14))}),
        {},
        r"found exchange/data_white \(2, 9, 14\), expected \(n, 10, 14\)",
    ),
    "no white": (lambda file: file.pop("exchange/data_white"), {}, r"found counts \(uint16\) without an air value"),
    "gon": (lambda file: file.update({"unit": "gon"}), {}, "found exchange/theta in gon, expected degrees or radians"),
    "half an arc": (
        lambda file: file.update({"exchange/theta": np.linspace(0, 90, 12)}),
        {"axis_column": None},
        "found no view opposite the first one .*, expected axis_column=COLUMN",
    ),
    "no pixel size": (
        lambda file: None,
        {"detector_pitch": None},
        "found no pixel size in it, expected a detector_pitch",
    ),
    "beside": (lambda file: None, {"axis_column": 14}, "axis_column: found 14, expected at most 13"),
}


@pytest.mark.parametrize(("change", "options", "message"), TOOTH.values(), ids=TOOTH.keys())
def test_data_exchange(tmp_path, refused, counts, change, options, message):
    content = {
        "exchange/data": counts,
        "exchange/data_white": np.full((2, 10, 14), 20_100.0),
        "exchange/theta": np.linspace(0, 180, 12),
        "unit": "degrees",
    }
    change(content)
    unit = content.pop("unit")
    with h5py.File(tmp_path / "tooth.h5", "w") as file:
        for name, value in content.items():
            file[name] = value
        if "exchange/theta" in content:
            file["exchange/theta"].attrs["units"] = unit
    refused(tmp_path / "tooth.h5", message, **{"detector_pitch": 1.0, "axis_column": 7.0, **options})


def test_what_is_no_hdf5(tmp_path, refused):
    (tmp_path / "tooth.h5").write_bytes(b"nothing")
    refused(tmp_path / "tooth.h5", "can't be read, truncated or damaged", detector_pitch=1)


PARAMETERS = {
    "distanceSourceOrigin": 410.0,
    "distanceSourceDetector": 553.0,
    "angles": np.arange(0, 360, 30.0),
    "pixelSizePost": 0.2,
}
HELSINKI = {
    "no struct": ({"angles": 3.0}, "found angles in it, expected a CtData with sinogram and parameters"),
    "complex": (
        {"CtData": {"sinogram": np.ones((3, 4), complex), "parameters": PARAMETERS}},
        r"found a sinogram \(3, 4\)",
    ),
    "cm": (
        {"CtData": {"sinogram": np.ones((12, 4)), "parameters": {**PARAMETERS, "distanceUnit": "cm"}}},
        "found lengths in cm, expected mm",
    ),
    "angles": (
        {"CtData": {"sinogram": np.eye(11, 4), "parameters": PARAMETERS}},
        "found 11 images, expected the geometry",
    ),
    "nearer": (
        {"CtData": {"sinogram": np.eye(12, 4), "parameters": {**PARAMETERS, "distanceSourceDetector": 400.0}}},
        "source_to_detector: found 400.0 mm, expected more than",
    ),
    "no pixels": (
        {"CtData": {"sinogram": np.eye(12, 4), "parameters": {"angles": 3.0}}},
        "found no entry 'pixelSize' in it",
    ),
}


@pytest.mark.parametrize(("content", "message"), HELSINKI.values(), ids=HELSINKI.keys())
def test_helsinki(tmp_path, refused, content, message):
    savemat(tmp_path / "ta.mat", content)
    refused(tmp_path / "ta.mat", message)


def test_packages_that_are_missing(tmp_path, monkeypatch, refused, save_xml, circle):
    for name in ("tifffile", "h5py", "itk.RTK"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    for name, package, extra in (("scan.tif", "tifffile", "projections"), ("tooth.h5", "h5py", "projections")):
        (tmp_path / name).write_bytes(b"something")
        refused(
            tmp_path / name,
            rf"needs {package}, found none: pip install 'monai-iscs\[{extra}\]'",
            geometry=(circle if name == "scan.tif" else None),
        )
    try:
        from itk import RTK  # noqa: F401
    except ImportError:
        (tmp_path / "0.his").write_bytes(b"something")
        refused(tmp_path / "0.his", r"needs itk-rtk, found none: pip install 'monai-iscs\[rtk\]'")
