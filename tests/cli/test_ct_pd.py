# SPDX-License-Identifier: Apache-2.0
"""DICOM-CT-PD through the command: simulated, read back, reconstructed the right way up, and refused when it is bad."""

from __future__ import annotations

import gzip
import itertools
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_iscs import ConeBeamGeometry, ConeBeamScan, Projections, read_projections, write_ct_pd
from monai_iscs.cli import main
from monai_iscs.grid import Grid
from monai_iscs.workflows.bundle import find_bundle

pydicom = pytest.importorskip("pydicom")

CENTER = np.array([12.0, -20.0, 330.0])  # mm, of the volume; the scanner's axis goes through it
HELIX = ("--table-feed", "50")


@pytest.fixture(scope="module")
def clinical(bundle, tmp_path_factory):
    """The small bundle, for real projections, too."""
    folder = shutil.copytree(bundle, tmp_path_factory.mktemp("clinical") / "tiny")
    shipped = find_bundle("body_ct_reconstruction") / "configs"
    config = json.loads((shipped / "measured.json").read_text())
    config["ckpt_path"] = "$@bundle_root + '/models/model.pt'"
    (folder / "configs" / "measured.json").write_text(json.dumps(config))
    (folder / "configs" / "metadata.json").write_text((shipped / "metadata.json").read_text())
    return folder


@pytest.fixture(scope="module")
def crooked(save_volume, tmp_path_factory):
    """A body that looks like none of its mirror images, 30 x 26 x 16 voxels of 8 mm."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (30, 26, 16)), indexing="ij")
    volume = np.full(x.shape, -1000.0)
    volume[(x / 0.8) ** 2 + (y / 0.75) ** 2 < 1] = 0
    volume[((x - 0.35) / 0.25) ** 2 + ((y - 0.2) / 0.3) ** 2 + ((z - 0.4) / 0.5) ** 2 < 1] = -900
    volume[((x + 0.3) / 0.2) ** 2 + ((y + 0.35) / 0.2) ** 2 + ((z + 0.3) / 0.4) ** 2 < 1] = 1000
    affine = np.diag([8.0, 8.0, 8.0, 1.0])
    affine[:3, 3] = CENTER - 4 * (np.array(volume.shape) - 1)
    return save_volume(tmp_path_factory.mktemp("crooked") / "crooked.nii.gz", volume.astype(np.float32), affine)


@pytest.fixture(scope="module")
def simulate(clinical, crooked, tmp_path_factory):
    def run(*options, name="scan", volume=crooked):
        output = tmp_path_factory.mktemp("simulated") / name
        given = ["simulate", str(volume), "--bundle", str(clinical), "--output", str(output), *map(str, options)]
        assert main(given) == 0
        return output

    return run


@pytest.fixture(scope="module")
def helix(simulate):
    return simulate("--views", 24, *HELIX, "--photons", 2e5)


@pytest.fixture(scope="module")
def circle(simulate):
    return simulate("--views", 40, "--photons", "none")


def test_a_helix_is_read_back_as_it_was_simulated(helix, crooked):
    image = nib.load(crooked)
    grid = Grid(image.shape, image.affine)
    expected = ConeBeamScan(size=32, views=24, table_feed=50.0).geometry(grid.fitted(32)).moved([*-CENTER[:2], 0])
    found = read_projections(helix)
    theirs = found.in_patient().geometry
    assert theirs.views == np.ceil((16 * 8 / 50 + 1) * 24)
    assert theirs.source == pytest.approx(expected.source, abs=1e-3)
    edges = np.array([-31.5, 31.5])
    assert np.sort(theirs.column_places(edges), 1) == pytest.approx(np.sort(expected.column_places(edges), 1), abs=1e-3)
    assert (found.position, found.water) == ("HFS", pytest.approx(0.02))
    first = pydicom.dcmread(sorted(helix.iterdir())[0])
    assert first[0x7033, 0x1013].value == 24
    assert first[0x7033, 0x1065].value == [2e5] * 64
    assert read_projections(helix, turns=(1, 2)).geometry.views == 24


@pytest.mark.parametrize("options", [("--views", 9), ("--views", 9, "--arc", 200), ("--views", 7, *HELIX)])
def test_the_folder_has_the_numbers_of_the_stack(simulate, options):
    """Rows fall in one, rise in the other; 16 bits round by half a step."""
    stack = read_projections(simulate(*options, name="scan.mha"))
    folder = read_projections(simulate(*options))
    step = float(stack.data.max() - stack.data.min()) / 65535
    assert folder.data.flip(1).numpy() == pytest.approx(stack.data.numpy(), abs=0.51 * step)


@pytest.mark.parametrize("scan", ["circle", "helix"])
def test_the_volume_is_the_right_way_up(scan, request, clinical, crooked, tmp_path):
    """Each mirrored axis, and one that is turned by half a turn, fits far worse."""
    truth = nib.load(crooked)
    given = ["reconstruct", request.getfixturevalue(scan), "--bundle", clinical, "--output", tmp_path / "out"]
    given += ["--method", "sirt", "--spacing", 8, "--shape", *truth.shape, "--center", 0, 0, CENTER[2]]
    assert main(list(map(str, given))) == 0
    image = nib.load(tmp_path / "out" / "reconstruction.nii.gz")
    at_axis = truth.affine.copy()
    at_axis[:2, 3] -= CENTER[:2]
    assert image.affine == pytest.approx(at_axis, abs=1e-3)
    found, wanted = image.get_fdata(), truth.get_fdata()
    inside = wanted > -1000  # an upright cylinder, which mirrors do not change
    fits = {
        mirrored: np.corrcoef(np.flip(found, mirrored)[inside], wanted[inside])[0, 1]
        for n in range(4)
        for mirrored in itertools.combinations(range(3), n)
    }
    right = fits.pop(())
    assert right > 0.7
    assert max(fits.values()) < 0.3
    assert np.median(found[wanted == 0]) == pytest.approx(0, abs=20)


def test_a_helix_in_one_command(clinical, crooked, tmp_path):
    given = ["reconstruct", crooked, "--bundle", clinical, "--output", tmp_path / "out", "--method", "sirt", *HELIX]
    assert main(list(map(str, given))) == 0
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["settings"]["table_feed"] == 50
    found, wanted = (nib.load(file).get_fdata() for file in (tmp_path / "out" / "reconstruction.nii.gz", crooked))
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.9


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((*HELIX, "--arc", "200"), "arc: found 200 degrees with a table_feed, expected 360"),
        (("--table-feed", "2"), "table_feed: found 2 mm, expected 9.96 to 597.3 mm"),
        (("--views", "3", "--output", "scan.nii"), "expected the name of a file that ends in .mha, or of a folder"),
        (("--views", "3", "--output", "there"), "there: found a file or folder there already, expected none"),
    ],
)
def test_what_cannot_be_simulated(fails, options, said, clinical, crooked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    line = fails("simulate", crooked, "--bundle", clinical, "--output", "scan", *options)
    assert said in line
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_an_oblique_volume_has_no_upright_scanner(fails, clinical, crooked, save_volume, tmp_path):
    image = nib.load(crooked)
    turned = image.affine.copy()
    turned[:3, :3] = [[8, 0, 0], [0, 8 * np.cos(0.2), -8 * np.sin(0.2)], [0, 8 * np.sin(0.2), 8 * np.cos(0.2)]]
    volume = save_volume(tmp_path / "oblique.nii.gz", image.get_fdata(dtype=np.float32), turned)
    line = fails("simulate", volume, "--bundle", clinical, "--output", tmp_path / "scan", "--views", 5)
    assert "found rays that are" in line
    assert "off what DICOM-CT-PD can say, expected an upright detector" in line
    assert not (tmp_path / "scan").exists()


VIEWS, ROWS, COLUMNS = 20, 4, 10


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A small helix with a flying focal spot: a folder of 20 views."""
    step = np.arange(VIEWS)
    flat = ConeBeamGeometry.circular(
        source_to_isocenter=600.0,
        source_to_detector=1000.0,
        detector_shape=(ROWS, COLUMNS),
        detector_pitch=(8.0, 50.0),
        angles=step * 0.3,
    ).moved(np.outer(step * 1.5, [0, 0, 1.0]))
    spots = np.outer(np.cos(step * np.pi), [0.3, -0.2, 0.4])
    scan = replace(flat, curved_about=flat.source, source=flat.source + spots)
    data = 2 + torch.rand(VIEWS, ROWS, COLUMNS, generator=torch.Generator().manual_seed(0))
    projections = Projections(data=data, geometry=scan, position="HFS", water=0.0192)
    return write_ct_pd(projections, tmp_path_factory.mktemp("good") / "scan", views_a_turn=21, quanta=[1e5] * COLUMNS)


Damage = Callable[[Path], Any]
ANGLE, HEIGHT, RADIUS, TO_DETECTOR, CENTRAL = (
    (0x7031, element) for element in (0x1001, 0x1002, 0x1003, 0x1031, 0x1033)
)
PITCH_U, PITCH_V, SHAPE, DETECTOR_ROWS = ((0x7029, element) for element in (0x1002, 0x1006, 0x100B, 0x1010))
DETECTOR_COLUMNS = (0x7029, 0x1011)
SPOT_ANGLE, SPOT_HEIGHT, SPOT_RADIUS = ((0x7033, element) for element in (0x100B, 0x100C, 0x100D))
TURN, SPECTRUM, QUANTA, TIME = ((0x7033, element) for element in (0x1013, 0x1063, 0x1065, 0x1067))
LOGARITHM, WATER = (0x7039, 0x1009), (0x7041, 0x1001)
ALL = range(1, VIEWS + 1)


def of(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.dcm"


def change(which: int | range, edit: Callable[[Any, int], Any]) -> Damage:
    """Edit the data sets of a view, or of several."""

    def apply(folder: Path) -> None:
        for number in [which] if isinstance(which, int) else which:
            data = pydicom.dcmread(of(folder, number))
            edit(data, number)
            data.save_as(of(folder, number))

    return apply


def put(tag: tuple[int, int] | str, value: Any, which: int | range = 7, vr: str | None = None) -> Damage:
    """A value, or the function of the old one; None: removed."""

    def edit(data: Any, number: int) -> None:
        new = value(data[tag].value) if callable(value) else value
        if new is None:
            del data[tag]
        elif vr is not None:
            data[tag] = pydicom.DataElement(tag, vr, new)
        elif isinstance(tag, str):
            setattr(data, tag, new)
        else:
            data[tag].value = new

    return change(which, edit)


def write(name: str, content: Callable[[bytes], bytes]) -> Damage:
    """A file with other bytes, made from those of view 7."""
    return lambda folder: (folder / name).write_bytes(content(of(folder, 7).read_bytes()))


def words(element: bytes) -> Damage:
    """A letter where the number of an element begins."""
    return write("00007.dcm", lambda b: re.sub(re.escape(element) + b"(.\x00).", element + rb"\1x", b, flags=re.DOTALL))


def doubled(folder: Path) -> None:
    for number in ALL:
        (folder / f"again_{number:05d}.dcm").write_bytes(of(folder, number).read_bytes())


def swapped(folder: Path) -> None:
    for one, other in ((7, 14), (14, 7)):
        put("InstanceNumber", other, one)(folder)


def alone(folder: Path) -> None:
    for number in ALL[1:]:
        of(folder, number).unlink()


def dangling(folder: Path) -> None:
    of(folder, 7).unlink()
    of(folder, 7).symlink_to(folder.parent / "gone.dcm")


def packed(folder: Path) -> None:
    data = pydicom.dcmread(of(folder, 7))
    data.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
    data.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f no picture"])
    data["PixelData"].is_undefined_length = True
    data.save_as(of(folder, 7))


def several(*damages: Damage) -> Damage:
    return lambda folder: [damage(folder) for damage in damages]


def is_of(number: int, text: str = "") -> str:
    return rf"/{number:05d}\.dcm: {text}"


BAD: dict[str, tuple[Damage, str]] = {
    # files
    "truncated pixels": (write("00007.dcm", lambda b: b[:-20]), is_of(7, "can't be read|found")),
    "truncated header": (write("00007.dcm", lambda b: b[:500]), is_of(7, "can't be read|found")),
    "zero size": (write("00007.dcm", lambda b: b""), is_of(7, "can't be read|found")),
    "zero size, all of them": (lambda folder: [of(folder, n).write_bytes(b"") for n in ALL], "scan|dcm"),
    "zero size, the first five": (lambda folder: [of(folder, n).write_bytes(b"") for n in ALL[:5]], is_of(1)),
    "text": (write("00007.dcm", lambda b: b"hello"), is_of(7, "can't be read|found")),
    "random bytes": (write("00007.dcm", lambda b: b[:132] + bytes(range(256)) * 4), is_of(7, "can't be read|found")),
    "zeros": (write("00007.dcm", lambda b: bytes(len(b))), is_of(7, "can't be read|found")),
    "a web page": (
        write("00007.dcm", lambda b: b"<!DOCTYPE html>" * 99),
        is_of(7, "can't be|found"),
    ),
    "compressed file": (write("00007.dcm", lambda b: gzip.compress(b)), is_of(7, "can't be read|found")),
    "a link to nowhere": (dangling, is_of(7, "can't be read|found")),
    "a copy": (write("copy.dcm", lambda b: b), "copy.dcm: found instance 7 in 00007.dcm, too"),
    "every file twice": (doubled, r"\.dcm: found instance 1 in .*, too"),
    "a single view": (alone, is_of(1, "found no other view")),
    "no pixels": (put("PixelData", None), is_of(7, "found|can't be read")),
    "too many pixels": (put("PixelData", lambda old: old * 2), is_of(7, "found|can't be read")),
    "signed pixels": (put("PixelRepresentation", 1), is_of(7, "found pixels .* of int16, expected .* unsigned")),
    "pixels of a byte": (several(put("BitsAllocated", 8), put("BitsStored", 8), put("HighBit", 7)), is_of(7)),
    "colours": (
        several(put("SamplesPerPixel", 3), put("PhotometricInterpretation", "RGB")),
        is_of(7, "found|can't be"),
    ),
    "two frames": (
        several(put("NumberOfFrames", 2, vr="IS"), put("PixelData", lambda old: old * 2)),
        is_of(7, "found pixels"),
    ),
    "damaged compression": (packed, is_of(7, "can't be read")),
    # foreign views
    "an image": (several(put((0x7029, 0x0010), None), put(DETECTOR_ROWS, None)), is_of(7, "found a CT file without")),
    "a structure set": (
        several(put((0x7029, 0x0010), None), put(DETECTOR_ROWS, None), put("Modality", "RTSTRUCT")),
        is_of(7, "found a RTSTRUCT file without"),
    ),
    "another series": (put("SeriesInstanceUID", "1.2.3"), is_of(7, "found views of 2 series")),
    "another study": (put("StudyInstanceUID", "1.2.3"), is_of(7, "found views of 2 studies")),
    "another patient": (put("PatientID", "somebody"), is_of(7, "found views of 2 patients")),
    "another tube": (put(SPECTRUM, 2, vr="US"), is_of(7, r"found views of 2 spectra")),
    "two energies in turn": (
        change(ALL, lambda data, number: data.add_new(SPECTRUM, "US", number % 2 + 1)),
        r"\.dcm: found views of 2 spectra",
    ),
    "another position": (put("PatientPosition", "FFS"), r"scan: found FFS and HFS as \(0018,5100\)"),
    "a position nobody knows": (put("PatientPosition", "SITTING", ALL), r"scan: found SITTING as \(0018,5100\)"),
    # order
    "no number": (put("InstanceNumber", None), is_of(7, "found no instance number")),
    "no numbers": (put("InstanceNumber", None, ALL), is_of(1, "found no instance number")),
    "a number in words": (words(b"\x20\x00\x13\x00IS"), is_of(7, "can't be read|found")),
    "swapped numbers": (swapped, r"/000(07|14)\.dcm: found .* as \(7031,100[12]\)"),
    "the same time": (
        several(put("InstanceNumber", None, ALL), put(TIME, 0.25, ALL, vr="FL")),
        is_of(1, "found no instance number"),
    ),
    # missing
    **{
        f"no {name}": (put(tag, None), is_of(7, rf"found no(ne as)? \({tag[0]:04X},{tag[1]:04X}\)"))
        for name, tag in {
            "angle": ANGLE,
            "height": HEIGHT,
            "radius": RADIUS,
            "distance": TO_DETECTOR,
            "middle": CENTRAL,
            "shape": SHAPE,
            "detector's columns": DETECTOR_COLUMNS,
            "column pitch": PITCH_U,
            "row pitch": PITCH_V,
            "shift of the spot": SPOT_ANGLE,
            "slope": (0x0028, 0x1053),
            "intercept": (0x0028, 0x1052),
            "rows": (0x0028, 0x0010),
            "water, in one": WATER,
            "views a turn, in one": TURN,
        }.items()
    },
    # not finite
    "an angle that is NaN": (put(ANGLE, np.nan), is_of(7, r"found nan as \(7031,1001\)")),
    "an infinite height": (put(HEIGHT, np.inf), is_of(7, r"found inf as \(7031,1002\)")),
    "NaN in the middle": (put(CENTRAL, [5.5, np.nan]), is_of(7, r"found nan as \(7031,1033\)")),
    "NaN quanta": (put(QUANTA, [np.nan] * COLUMNS), is_of(7, r"found nan as \(7033,1065\)")),
    "negative quanta": (put(QUANTA, [-1.0] * COLUMNS), is_of(7, r"found -1 as \(7033,1065\)")),
    # text
    "a slope in words": (words(b"\x28\x00\x53\x10DS"), is_of(7, "can't be read|found")),
    "an angle in words": (put(ANGLE, "north", vr="LO"), is_of(7, r"found 'north' as \(7031,1001\)")),
    "rows in words": (put(DETECTOR_ROWS, "four", vr="LO"), is_of(7, r"found 'four' as \(7029,1010\)")),
    "three bytes of an angle": (put(ANGLE, b"\x01\x02\x03\x04\x05\x06", vr="UN"), is_of(7, "found 6 bytes as")),
    "two angles": (put(ANGLE, [0.1, 0.2]), is_of(7, r"found 2 numbers as \(7031,1001\)")),
    # one view's tag is wrong
    "an angle": (put(ANGLE, lambda old: old + 0.4), is_of(7, r"found .* as \(7031,1001\).* off what the views before")),
    "the last angle": (put(ANGLE, lambda old: old + 0.4, VIEWS), is_of(VIEWS, r"found .* as \(7031,1001\)")),
    "a height": (put(HEIGHT, lambda old: old + 5, 7), is_of(7, r"found .* as \(7031,1002\).*, 5 off")),
    "a radius": (put(RADIUS, lambda old: old + 3, 7), is_of(7, r"found 603 mm as \(7031,1003\).*, expected 600")),
    "the distance": (put(TO_DETECTOR, 990.0), is_of(7, r"found 990 as \(7031,1031\)")),
    "the middle": (put(CENTRAL, [5.5, 3.5]), is_of(7, r"found 5.5, 3.5 as \(7031,1033\)")),
    "the shape": (put(SHAPE, "FLAT"), is_of(7, r"found FLAT as \(7029,100B\)")),
    "the rows": (put(DETECTOR_ROWS, 5), is_of(7, r"found 5 as \(7029,1010\)")),
    "the pixels": (put("Rows", 5), is_of(7, r"found 5 as \(0028,0010\)")),
    "the height of the spot": (put(SPOT_HEIGHT, 8.0), is_of(7, r"found 8 as \(7033,100C\).*, expected a focal spot")),
    "the angle of the spot": (put(SPOT_ANGLE, 0.03), is_of(7, r"found 0.03 as \(7033,100B\).*, expected a focal spot")),
    "the radius of the spot": (put(SPOT_RADIUS, -9.0), is_of(7, r"found -9 as \(7033,100D\).*, expected a focal spot")),
    "views a turn": (put(TURN, 2304), is_of(7, r"found 2304 as \(7033,1013\).*, expected 21")),
    "water": (put(WATER, "0.02"), is_of(7, r"found 0.02 as \(7041,1001\).*, expected 0.0192")),
    # units and signs
    "a column pitch in m": (put(PITCH_U, 0.05, ALL), is_of(1, r"found 0.05 mm as \(7029,1002\).* and 8 mm as")),
    "a distance in m": (put(TO_DETECTOR, 1.0, ALL), is_of(1, r"found 600 mm as \(7031,1003\).* and 1 mm as")),
    "a radius in cm": (put(RADIUS, 60.0, ALL), is_of(1, r"found 60 mm as \(7031,1003\).* and 1000 mm as")),
    "a radius in um": (put(RADIUS, 6e5, ALL), is_of(1, r"found 600000 as \(7031,1003\)")),
    "an angle in degrees": (put(ANGLE, lambda old: np.degrees(old)), is_of(7, r"found .* as \(7031,1001\)")),
    "all angles in degrees": (
        change(ALL, lambda data, number: setattr(data[ANGLE], "value", 360 / 21 * number % 360)),
        is_of(1, "found .* which are degrees with 21 views a turn, expected radians"),
    ),
    "a shift of a metre": (
        put(SPOT_HEIGHT, 1000.0),
        is_of(7, r"found 1000 as \(7033,100C\).*, expected a number from"),
    ),
    "water per m": (put(WATER, "19.2", ALL), is_of(1, r"found 19.2 as \(7041,1001\)")),
    "a negative radius": (put(RADIUS, -600.0), is_of(7, r"found -600 as \(7031,1003\)")),
    "a falling slope": (put("RescaleSlope", -1e-4), is_of(7, r"found -0.0001 as \(0028,1053\)")),
    "negative line integrals": (put("RescaleIntercept", -30, ALL), "scan: found line integrals of -"),
    "counts": (
        several(put("RescaleSlope", 1, ALL), put("RescaleIntercept", 0, ALL)),
        "scan: found line integrals of up",
    ),
    "no logarithm": (put(LOGARITHM, "NO", ALL), is_of(1, r"found NO as \(7039,1009\)")),
    # detectors
    "a sphere": (put(SHAPE, "SPHERICAL", ALL), is_of(1, "found a detector that is SPHERICAL")),
    "no columns": (put(DETECTOR_COLUMNS, 0, ALL), is_of(1, r"found 0 as \(7029,1011\)")),
    "more columns than pixels": (put(DETECTOR_COLUMNS, 736, ALL), is_of(1, "found 4 x 10 pixels, expected 4 x 736")),
    "in front of the axis": (put(TO_DETECTOR, 500.0, ALL), is_of(1, r"found 600 mm as \(7031,1003\).* and 500 mm")),
    "turned away from the axis": (put(CENTRAL, [55.5, 2.5], ALL), "scan: found"),
    "everything at one place": (
        several(put(ANGLE, 0.5, ALL), put(HEIGHT, 0.0, ALL), put(SPOT_HEIGHT, 0.0, ALL)),
        "scan: found",
    ),
    "nothing but one number": (put("PixelData", lambda old: bytes(len(old)), ALL), "scan: found .* in every pixel"),
}


@pytest.mark.parametrize(("damage", "message"), BAD.values(), ids=BAD.keys())
def test_bad_folders(fails, good, damage, message, clinical, tmp_path):
    folder = shutil.copytree(good, tmp_path / "scan")
    damage(folder)
    output = tmp_path / "out"
    line = fails("reconstruct", folder, "--bundle", clinical, "--output", output, "--method", "sirt", "--spacing", 40)
    assert re.search(message, line), line
    assert "found" in line or "can't be read" in line
    assert len(line) < 600
    assert not output.exists()


@pytest.mark.parametrize("number", [None, 1], ids=["none", "the same"])
def test_views_without_a_number_are_ordered_by_their_time(good, number, tmp_path):
    """Their files' names say nothing: here they run backwards."""
    folder = shutil.copytree(good, tmp_path / "scan")
    change(ALL, lambda data, view: data.add_new(TIME, "FL", 0.1 * view))(folder)
    put("InstanceNumber", number, ALL)(folder)
    for view in ALL:
        of(folder, view).rename(folder / f"{100 - view}.dcm")
    found, expected = read_projections(folder), read_projections(good)
    assert torch.equal(found.data, expected.data)
    assert found.geometry == expected.geometry
    assert any("missing or doubled: the order is that of (7033,1067)" in note for note in found.notes)
