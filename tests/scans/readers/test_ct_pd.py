# SPDX-License-Identifier: Apache-2.0
"""Raw data of clinical scanners as DICOM-CT-PD.

`Scanner` writes files from the manual's formulas, in its own coordinates, and knows nothing of the reader: a ball of
water at a known place of the patient must come back there.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_iscs.classical import sirt
from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.scans import MeasuredScan, Projections, read_projections
from monai_iscs.scans.readers import holds_projections, write_ct_pd

pydicom = pytest.importorskip("pydicom")

WATER = 0.0195
BALL, RADIUS = np.array([60.0, 35.0, 18.0]), 25.0  # mm right, anterior, superior
TO_SCANNER = {  # of the patient's R, A, S: x to the right and y up, seen from the table, z into the gantry
    "HFS": np.diag([-1.0, 1, 1]),
    "HFP": np.diag([1.0, -1, 1]),
    "FFS": np.diag([1.0, 1, -1]),
    "FFP": np.diag([-1.0, -1, -1]),
}


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """A helix about the z axis; lengths in mm, angles in radians."""

    views: int = 40
    step: float = 0.31
    rise: float = 1.2
    rows: int = 16
    columns: int = 40
    pitch: tuple[float, float] = (6.0, 14.0)  # of rows, of columns
    radius: float = 595.0
    to_detector: float = 1085.6
    central: tuple[float, float] = (20.1, 8.25)  # column, row, counted from 1
    flying: bool = False
    position: str = "HFS"
    shape: str = "CYLINDRICAL"
    raw: bool = False
    transposed: bool = False

    def write(self, folder: Path) -> Path:
        folder.mkdir()
        for view in range(self.views):
            self.view(view).save_as(folder / f"{view + 1:03d}.dcm", enforce_file_format=True)
        return folder

    def shifts(self, view: int) -> tuple[float, float, float]:
        """drho, dphi, dz."""
        return ((4.0, 0.002, -0.6), (-3.0, -0.001, 0.7), (1.0, 0.003, 0.4))[view % 3] if self.flying else (0.0,) * 3

    def lines(self, view: int) -> np.ndarray:
        """Chords through the ball times water's attenuation, (rows, columns)."""
        phi, z = self.angle(view), self.height(view)
        drho, dphi, dz = self.shifts(view)

        def place(rho: float, angle: float, height: float) -> np.ndarray:
            return np.array([-rho * np.sin(angle), rho * np.cos(angle), height])

        focus = place(self.radius, phi, z)
        spot = place(self.radius + drho, phi + dphi, z + dz)
        column = (np.arange(1, self.columns + 1) - self.central[0]) * self.pitch[1]
        inward, across = -place(1, phi, 0), np.array([np.cos(phi), np.sin(phi), 0])
        if self.shape == "FLAT":
            ray = self.to_detector * inward + column[:, None] * across
        else:
            gamma = column[:, None] / self.to_detector
            ray = self.to_detector * (np.cos(gamma) * inward + np.sin(gamma) * across)
        up = (self.central[1] - np.arange(1, self.rows + 1)) * self.pitch[0]
        pixels = focus + ray + up[:, None, None] * np.array([0, 0, 1.0])
        direction = (pixels - spot) / np.linalg.norm(pixels - spot, axis=2, keepdims=True)
        to_ball = TO_SCANNER[self.position] @ BALL - spot
        off = (to_ball**2).sum() - (direction @ to_ball) ** 2
        return 2 * WATER * np.sqrt(np.maximum(RADIUS**2 - off, 0))

    def angle(self, view: int) -> float:
        return float(np.mod(1.7 + self.step * view, 2 * np.pi))

    def height(self, view: int) -> float:
        return self.rise * (view - (self.views - 1) / 2)

    def view(self, view: int) -> Any:
        drho, dphi, dz = self.shifts(view)
        data = pydicom.Dataset()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
        data.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.9.{view + 1}"
        data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", f"1.2.3.9.{view + 1}"
        data.SeriesInstanceUID, data.StudyInstanceUID, data.Modality = "1.2.3.8", "1.2.3.7", "CT"
        data.InstanceNumber, data.PatientPosition = view + 1, self.position
        pixels = np.rint((self.lines(view) + 0.1) / 1e-4).astype("<u2")
        pixels = pixels.T if self.transposed else pixels
        data.Rows, data.Columns = pixels.shape
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.RescaleSlope, data.RescaleIntercept = 1e-4, -0.1
        data.PixelData = np.ascontiguousarray(pixels).tobytes()
        values = {
            (0x7029, 0x1002): ("FL", [self.pitch[1]]),
            (0x7029, 0x1006): ("FL", [self.pitch[0]]),
            (0x7029, 0x100B): ("CS", self.shape),
            (0x7029, 0x1010): ("US", [self.rows]),
            (0x7029, 0x1011): ("US", [self.columns]),
            (0x7031, 0x1001): ("FL", [self.angle(view)]),
            (0x7031, 0x1002): ("FL", [self.height(view)]),
            (0x7031, 0x1003): ("FL", [self.radius]),
            (0x7031, 0x1031): ("FL", [self.to_detector]),
            (0x7031, 0x1033): ("FL", list(self.central)),
            (0x7033, 0x100B): ("FL", [dphi]),
            (0x7033, 0x100C): ("FL", [dz]),
            (0x7033, 0x100D): ("FL", [drho]),
            (0x7033, 0x1013): ("US", [20]),
            (0x7033, 0x1061): ("US", [1]),
            (0x7033, 0x1063): ("US", [1]),
            (0x7033, 0x1065): ("FL", [5e4] * self.columns),
            (0x7039, 0x1009): ("CS", "YES"),
            (0x7041, 0x1001): ("DS", str(WATER)),
        }
        for group in sorted({group for group, _ in values}):
            name = "DETECTOR GEOMETRY" if group == 0x7029 else f"GROUP {group:X}"
            data.add_new((group, 0x0010), "LO", name)
        for tag, (vr, value) in values.items():
            if not self.raw:
                data.add_new(tag, vr, value if isinstance(value, str) or len(value) > 1 else value[0])
            elif isinstance(value, str):
                data.add_new(tag, "UN", value.ljust(len(value) + len(value) % 2).encode())
            else:
                data.add_new(tag, "UN", np.asarray(value, "<f4" if vr == "FL" else "<u2").tobytes())
        return data


@pytest.mark.parametrize("position", TO_SCANNER)
@pytest.mark.parametrize(
    "scanner",
    [
        Scanner(),
        Scanner(flying=True, raw=True, transposed=True),
        Scanner(shape="FLAT", step=-0.31),
        Scanner(rise=-1.2, central=(23.7, 6.0)),
    ],
    ids=["plain", "flying, raw, transposed", "flat, the other way round", "falling, off centre"],
)
def test_a_ball_comes_back_where_it_lies_in_the_patient(tmp_path, scanner, position):
    """A mirrored axis, or rows, columns or a direction taken the wrong way round, moves it by centimetres."""
    scanner = replace(scanner, position=position)
    z = (TO_SCANNER[position] @ BALL)[2]
    found = read_projections(scanner.write(tmp_path / "scan"))
    assert (found.position, found.water) == (position, WATER)
    placed = MeasuredScan(spacing=7.0, shape=(34, 34, 16), center=BALL).place(found)
    measurement = placed.measurement
    volume = sirt(measurement, iterations=30)[0].clamp(min=0)
    grid = measurement.grid
    weight = volume.double().numpy() ** 2
    index = [np.arange(n) for n in grid.shape]
    center = [
        (weight.sum(tuple(a for a in range(3) if a != axis)) * index[axis]).sum() / weight.sum() for axis in range(3)
    ]
    place = np.asarray(grid.affine)[:3, :3] @ center + np.asarray(grid.affine)[:3, 3]
    assert place == pytest.approx(BALL, abs=2.5), z
    inside = volume[tuple(round(c) for c in center)]
    assert 0.75 < float(inside) * 2600 / 1000 < 1.25  # water is 1000 HU above air


@pytest.mark.parametrize(("flying", "shape"), [*itertools.product((False, True), ("CYLINDRICAL", "FLAT"))])
def test_rays_are_the_manual_s(tmp_path, flying, shape):
    scanner = Scanner(flying=flying, shape=shape, views=6)
    found = read_projections(scanner.write(tmp_path / "scan")).geometry
    x, y, z = 1, 0, 2  # the format's axes in ours
    for view in range(6):
        drho, dphi, dz = scanner.shifts(view)
        phi, height = scanner.angle(view), scanner.height(view)
        spot = scanner.radius + drho
        expected = [-spot * np.sin(phi + dphi), spot * np.cos(phi + dphi), height + dz]
        assert found.source[view, [x, y, z]] == pytest.approx(expected, abs=1e-3)
        middle = found.column_places([20.1 - 20.5])[view, 0] + (8.25 - 8.5) * found.v[view]
        far = scanner.radius - scanner.to_detector
        expected = [-far * np.sin(phi), far * np.cos(phi), height]
        assert middle[[x, y, z]] == pytest.approx(expected, abs=1e-3)


def test_values_are_the_pixels(tmp_path):
    scanner = Scanner(views=8)
    for name, changes in {"plain": {}, "raw": {"raw": True}, "transposed": {"transposed": True}}.items():
        found = read_projections(replace(scanner, **changes).write(tmp_path / name))
        expected = np.stack([scanner.lines(view) for view in range(8)])
        assert found.data.numpy() == pytest.approx(expected, abs=1e-4)
        assert any("8 views, 20 a turn, a cylindrical detector" in note for note in found.notes)


def test_parts_of_a_scan(tmp_path):
    folder = Scanner(views=50, rise=0.8).write(tmp_path / "scan")
    everything = read_projections(folder)
    every = read_projections(folder, every=3)
    assert torch.equal(every.data, everything.data[::3])
    assert every.geometry == everything.geometry.chosen(np.arange(0, 50, 3))
    turns = read_projections(folder, turns=(0.5, 1.25))
    assert torch.equal(turns.data, everything.data[10:25])
    rows = read_projections(folder, rows=(3, 9))
    assert torch.equal(rows.data, everything.data[:, 3:9])
    assert rows.geometry.detector == pytest.approx(everything.geometry.detector - 2 * everything.geometry.v)
    assert read_projections(folder, position="RAS").position is None


@pytest.mark.parametrize("option", [{"turns": (7, 9)}, {"turns": (1, 1)}, {"rows": (0, 17)}, {"rows": (2, 2.5)}])
def test_parts_that_are_not_there(tmp_path, option):
    folder = Scanner(views=8).write(tmp_path / "scan")
    with pytest.raises(InputError, match=r"(turns|rows): found .*, expected"):
        read_projections(folder, **option)


def change(view: int, **elements: Any) -> Callable[[Path], None]:
    """Values of one view's file: t7031_1001=VALUE, or a keyword; None: removed."""

    def apply(folder: Path) -> None:
        path = folder / f"{view:03d}.dcm"
        data = pydicom.dcmread(path)
        for name, value in elements.items():
            if re.fullmatch("t[0-9A-F]{4}_[0-9A-F]{4}", name):
                tag = tuple(int(part, 16) for part in name[1:].split("_"))
                if value is None:
                    del data[tag]
                else:
                    data[tag].value = value
            elif value is None:
                delattr(data, name)
            else:
                setattr(data, name, value)
        data.save_as(path)

    return apply


def cut(share: float) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "004.dcm"
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

    return apply


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated pixels": (cut(0.9), r"004.dcm: (can't be read|found)"),
    "truncated header": (cut(0.1), r"004.dcm: (can't be read|found)"),
    "empty": (cut(0.0), r"004.dcm: (can't be read|found)"),
    "text": (lambda folder: (folder / "004.dcm").write_text("hello"), "004.dcm: (can't be read|found)"),
    "a copy": (lambda f: (f / "099.dcm").write_bytes((f / "004.dcm").read_bytes()), "099.dcm: found instance 4 in 004"),
    "another series": (change(4, SeriesInstanceUID="1.2.3.4"), "004.dcm: found views of 2 series"),
    "another tube": (change(4, t7033_1063=2), "004.dcm: found views of 2 spectra"),
    "an image among them": (change(4, t7029_0010=None, t7029_1010=None), "004.dcm: found a CT file without"),
    "no instance number": (change(4, InstanceNumber=None), "004.dcm: found no instance number"),
    "no angle": (change(4, t7031_1001=None), r"004.dcm: found no \(7031,1001\)"),
    "no height": (change(4, t7031_1002=None), r"004.dcm: found no \(7031,1002\)"),
    "no slope": (change(4, RescaleSlope=None), r"004.dcm: found no \(0028,1053\)"),
    "no pitch": (change(4, t7029_1002=None), r"004.dcm: found no \(7029,1002\)"),
    "angle not finite": (change(4, t7031_1001=float("nan")), r"004.dcm: found nan as \(7031,1001\)"),
    "one angle": (change(4, t7031_1001=0.4), r"004.dcm: found 0.4 as \(7031,1001\)"),
    "first angle": (change(1, t7031_1001=0.4), r"001.dcm: found 0.4 as \(7031,1001\)"),
    "second angle": (change(2, t7031_1001=0.4), r"002.dcm: found 0.4 as \(7031,1001\)"),
    "last height": (change(12, t7031_1002=90.0), r"012.dcm: found 90 as \(7031,1002\)"),
    "angle in degrees": (change(4, t7031_1001=150.0), r"004.dcm: found 150 as \(7031,1001\)"),
    "one height": (change(4, t7031_1002=300.0), r"004.dcm: found 300 as \(7031,1002\)"),
    "one radius": (change(4, t7031_1003=580.0), r"004.dcm: found 580 mm as \(7031,1003\)"),
    "no radius": (change(4, t7031_1003=0.0), r"004.dcm: found 0 as \(7031,1003\)"),
    "another detector": (change(4, t7031_1031=900.0), r"004.dcm: found 900 as \(7031,1031\)"),
    "another middle": (change(4, t7031_1033=[25.0, 8.25]), r"004.dcm: found 25, 8.25 as \(7031,1033\)"),
    "half a middle": (change(4, t7031_1033=25.0), r"004.dcm: found 1 numbers as \(7031,1033\)"),
    "another pitch": (change(4, t7029_1002=1.4), r"004.dcm: found 1.4.* as \(7029,1002\)"),
    "another shape": (change(4, t7029_100B="FLAT"), r"004.dcm: found FLAT as \(7029,100B\)"),
    "more rows": (change(4, t7029_1010=17), r"004.dcm: found 17 as \(7029,1010\)"),
    "other pixels": (change(4, Rows=8), r"004.dcm: found 8 as \(0028,0010\)"),
    "no logarithm": (change(4, t7039_1009="NO"), r"004.dcm: found NO as \(7039,1009\)"),
    "no number": (change(4, RescaleSlope="1e-400"), r"004.dcm: found 0 as \(0028,1053\)"),
    "a shift of a metre": (change(4, t7033_100C=1000.0), r"004.dcm: found 1000 as \(7033,100C\)"),
    "two positions": (change(4, PatientPosition="FFS"), r"scan: found FFS and HFS as \(0018,5100\)"),
}


@pytest.mark.parametrize(("damage", "message"), BAD.values(), ids=BAD.keys())
def test_bad_folders(tmp_path, damage, message):
    folder = Scanner(views=12).write(tmp_path / "scan")
    damage(folder)
    with pytest.raises(InputError) as error:
        read_projections(folder)
    line = str(error.value)
    assert re.search(message, line), line
    assert "\n" not in line
    assert len(line) < 500


ALL_WRONG = {
    "spherical": (
        Scanner(views=6, shape="SPHERICAL"),
        "found a detector that is SPHERICAL, expected CYLINDRICAL or FLAT",
    ),
    "square": (Scanner(views=6, rows=40, pitch=(2.0, 14.0), central=(20, 20)), "found as many rows as columns, 40"),
    "decubitus": (Scanner(views=6), r"found HFDL as \(0018,5100\) PatientPosition, expected HFS"),
    "no position": (Scanner(views=6), r"found None as \(0018,5100\) PatientPosition, expected HFS"),
}


@pytest.mark.parametrize("name", ALL_WRONG)
def test_scans_that_are_refused(tmp_path, name):
    scanner, message = ALL_WRONG[name]
    folder = scanner.write(tmp_path / "scan")
    if name in ("decubitus", "no position"):
        for view in range(1, 7):
            change(view, PatientPosition="HFDL" if name == "decubitus" else None)(folder)
    with pytest.raises(InputError, match=message):
        read_projections(folder)
    if name == "no position":
        assert read_projections(folder, position="FFS").position == "FFS"


def test_missing_files_are_told(tmp_path):
    folder = Scanner(views=20).write(tmp_path / "scan")
    for view in (4, 9, 10):
        (folder / f"{view:03d}.dcm").unlink()
    (folder / "LICENSE").write_text("not a view")
    found = read_projections(folder)
    assert found.geometry.views == 17
    assert any("found no view 4, 9 to 10: 3 files are missing among 17" in note for note in found.notes)


def test_what_a_folder_holds(tmp_path):
    assert holds_projections(Scanner(views=3).write(tmp_path / "scan"))
    (tmp_path / "empty").mkdir()
    assert not holds_projections(tmp_path / "empty")


FLAT = ConeBeamGeometry.circular(
    source_to_isocenter=600.0,
    source_to_detector=1000.0,
    detector_shape=(5, 12),
    detector_pitch=(4.0, 30.0),
    angles=np.arange(20) * 0.3 + 0.2,
    detector_offset=(0.0, 11.0),
).moved(np.outer(np.arange(20) * 1.5 - 20, [0, 0, 1.0]))
CURVED = replace(FLAT, detector=FLAT.detector - 11 / 30 * FLAT.u, curved_about=FLAT.source)


FLYING = replace(CURVED, source=CURVED.source + np.outer(np.cos(np.arange(20) * np.pi), [0.3, -0.2, 0.4]))


@pytest.mark.parametrize("position", [None, *TO_SCANNER])
@pytest.mark.parametrize("scan", [FLAT, CURVED, FLYING], ids=["flat", "curved", "flying"])
def test_what_is_written_comes_back(tmp_path, scan, position):
    data = 4 * torch.rand(20, 5, 12, generator=torch.Generator().manual_seed(0))
    written = Projections(data=data, geometry=scan, position=position, water=0.0192)
    found = read_projections(write_ct_pd(written, tmp_path / "scan", views_a_turn=21, quanta=[1e5] * 12))
    assert (found.position, found.water) == (position or "HFS", 0.0192)
    ours, theirs, data = written.in_patient().geometry, found.in_patient().geometry, found.data
    if (ours.u * theirs.u).sum() < 0:
        theirs, data = replace(theirs, u=-theirs.u), data.flip(2)
    if (ours.v * theirs.v).sum() < 0:
        theirs, data = replace(theirs, v=-theirs.v), data.flip(1)
    for name in ("source", "v"):
        assert getattr(theirs, name) == pytest.approx(getattr(ours, name), abs=1e-3)
    columns = np.arange(12) - 5.5
    assert theirs.column_places(columns) == pytest.approx(ours.column_places(columns), abs=1e-3)
    assert data.numpy() == pytest.approx(written.data.numpy(), abs=4 / 65535)


def test_what_cannot_be_written(tmp_path):
    data = torch.rand(20, 5, 12)
    scan = Projections(data=data, geometry=FLAT)
    with pytest.raises(InputError, match=r"quanta: found shape .*, expected one number for each of 12 columns"):
        write_ct_pd(scan, tmp_path / "scan", quanta=[1.0, 2.0])
    tilted = FLAT.turned(np.array([[1, 0, 0], [0, 0.98, -0.199], [0, 0.199, 0.98]]))
    with pytest.raises(InputError, match="mm off what DICOM-CT-PD can say, expected an upright detector"):
        write_ct_pd(Projections(data=data, geometry=tilted), tmp_path / "scan")
    square = FLAT.binned((0, 0), (5, 5), (1, 1))
    with pytest.raises(InputError, match="geometry: found as many detector rows as columns, 5"):
        write_ct_pd(Projections(data=data[..., :5], geometry=square), tmp_path / "scan")
    aside = replace(FLAT, source=FLAT.source + 0.1 * FLAT.u)
    with pytest.raises(InputError, match="mm off"):
        write_ct_pd(Projections(data=data, geometry=aside), tmp_path / "scan")
    assert not (tmp_path / "scan").exists()
    (tmp_path / "scan").mkdir()
    with pytest.raises(InputError, match="scan: found a file or folder there already"):
        write_ct_pd(scan, tmp_path / "scan")
