# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import itertools
import shutil
import warnings
import zipfile

import itk
import numpy as np
import pytest

from monai_iscs.errors import InputWarning

with warnings.catch_warnings():  # ITK's lazily loaded modules crash where this warning is made an error
    warnings.filterwarnings("ignore", "builtin type [sS]wig", DeprecationWarning)
    itk.PNGImageIO, itk.image_from_array(np.zeros((2, 2), np.uint16))

AFFINE = np.diag([-2.0, -2.0, -5.0, 1.0])


def row(series, key, span, split, **changes):
    """A lesion; other columns of the real table are not read."""
    return {
        "File_name": f"{series}_{key:03d}.png",
        "Patient_index": str(int(series[:6])),
        "Study_index": "1",
        "Series_ID": "1",
        "Key_slice_index": str(key),
        "Slice_range": f"{span[0]}, {span[1]}",
        "Spacing_mm_px_": "2, 2, 5",
        "Train_Val_Test": str(split),
        **changes,
    }


@pytest.fixture
def write_table(archive):
    def write(rows):
        with (archive / "DL_info.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    return write


@pytest.fixture
def save_slices(archive, hu):
    """``save_slices(series, first)``: four slices from that index on, as 16-bit PNG."""

    def save(series, first, *, offset=32768, dtype=np.uint16, values=hu):
        folder = archive / "Images_png" / series
        folder.mkdir(parents=True, exist_ok=True)
        for k in range(values.shape[2]):
            stored = (values[:, :, k].T.astype(np.int32) + offset).astype(dtype)
            itk.imwrite(itk.image_from_array(np.ascontiguousarray(stored)), str(folder / f"{first + k:03d}.png"))

    return save


@pytest.fixture
def lesions(write_table, save_slices, hu):
    """One patient for each split; the first has two runs of slices, the second two overlapping lesions."""
    write_table(
        [
            row("000001_01_01", 104, (103, 106), 1),
            row("000001_01_01", 201, (200, 203), 1, Spacing_mm_px_="2, 2, 5.001"),  # rounded
            row("000002_03_01", 8, (7, 9), 2),
            row("000002_03_01", 9, (8, 10), 2),
            row("000003_01_02", 12, (11, 14), 3),
            row("000004_01_01", 12, (11, 14), 1),  # was not downloaded
        ]
    )
    save_slices("000001_01_01", 103)
    save_slices("000001_01_01", 200, values=hu[::-1])
    save_slices("000002_03_01", 7)
    save_slices("000003_01_02", 11)


def check(output, hu, same, tree):
    files = {"train/000001_01_01_103-106", "train/000001_01_01_200-203", "val/000002_03_01_007-010"}
    files = {f"{file}.nii.gz" for file in (*files, "test/000003_01_02_011-014")}
    assert tree(output) == {*files, "manifest.csv", "LICENSE.txt", "prepare.json"}
    for file in files:
        same(output / file, hu[::-1] if "200-203" in file else hu, AFFINE)


def test_runs_of_slices_in_the_splits_of_the_table(lesions, prepare, hu, same, tree):
    output = prepare("deep-lesion")
    check(output, hu, same, tree)
    with (output / "manifest.csv").open() as lines:
        sources = {line["file"]: (line["patient"], line["source"]) for line in csv.DictReader(lines)}
    assert sources["test/000003_01_02_011-014.nii.gz"] == ("000003", "Images_png/000003_01_02")


def test_zip_files_as_they_are_downloaded(lesions, archive, prepare, hu, same, tree):
    places = sorted((archive / "Images_png").iterdir())
    for number, place in enumerate(places[:2], 1):
        with zipfile.ZipFile(archive / f"Images_png_{number:02d}.zip", "w") as packed:
            for file in place.iterdir():
                packed.write(file, file.relative_to(archive))
        shutil.rmtree(place)
    output = prepare("deep-lesion")
    check(output, hu, same, tree)
    assert "Images_png_02.zip/Images_png/000002_03_01" in (output / "manifest.csv").read_text()


def test_a_run_of_one_slice_is_left_out(lesions, write_table, save_slices, hu, prepare, archive):
    save_slices("000003_01_02", 99, values=hu[:, :, :1])
    with pytest.warns(InputWarning, match="found 4 runs of slices, left out 1 x run of one slice"):
        assert len(list(prepare("deep-lesion").rglob("*.nii.gz"))) == 4


def spoil_table(column, value, number=0):
    def spoil(archive):
        with (archive / "DL_info.csv").open() as file:
            rows = list(csv.DictReader(file))
        rows[number][column] = value
        with (archive / "DL_info.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    return spoil


def without_column(archive):
    file = archive / "DL_info.csv"
    file.write_text(file.read_text().replace("Spacing_mm_px_", "Spacing"))


def cut_image(archive):
    file = archive / "Images_png" / "000001_01_01" / "104.png"
    file.write_bytes(file.read_bytes()[:60])


def not_zip(archive):
    (archive / "Images_png_01.zip").write_bytes(b"half of it")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_column, "DL_info.csv: found no column Spacing_mm_px_, expected File_name, "),
        (spoil_table("Train_Val_Test", "2", 1), "row 3: found patient 000001 in train and val, expected one split"),
        (spoil_table("Train_Val_Test", "4"), "row 2: found Train_Val_Test '4', expected 1, 2 or 3"),
        (spoil_table("Spacing_mm_px_", "2, 2, 1", 1), "found spacings of (2.0, 2.0, 1.0) and (2.0, 2.0, 5.0) mm"),
        (spoil_table("Spacing_mm_px_", "2, 2"), "row 2: found Spacing_mm_px_ '2, 2', expected 3 numbers"),
        (spoil_table("Spacing_mm_px_", "2, 2, -5"), "row 2: found Spacing_mm_px_ '2, 2, -5', expected sizes above 0"),
        (spoil_table("Slice_range", "many"), "row 2: found Slice_range 'many', expected 2 numbers"),
        (spoil_table("Slice_range", "9, 8"), "row 2: found Slice_range '9, 8', expected two rising indices"),
        (spoil_table("Patient_index", "7"), "row 2: found Patient_index '7', expected 1"),
        (spoil_table("File_name", "a.png"), "row 2: found File_name 'a.png', expected one such as"),
        (spoil_table("File_name", "000009_01_01_008.png", 4), "row 6: found Patient_index '3', expected 9"),
        (cut_image, "000001_01_01/104.png: found a truncated or damaged file, expected a PNG image"),
        (not_zip, "Images_png_01.zip: found a truncated or damaged file, expected a zip file"),
        (lambda folder: (folder / "Images_png/000001_01_01/106.png").unlink(), "found no slice 106, one of 1 that"),
        (lambda folder: (folder / "DL_info.csv").unlink(), "expected DL_info.csv and the folder Images_png"),
        (lambda folder: shutil.rmtree(folder / "Images_png"), "found 1 x DL_info.csv, expected 16-bit images"),
        (lambda folder: shutil.rmtree(folder / "Images_png/000002_03_01"), "found 1 for test, 2 for train, expected"),
    ],
)
def test_what_is_not_deep_lesion_or_not_whole(lesions, archive, refused, spoil, message):
    spoil(archive)
    assert message in refused("deep-lesion")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offset": 32768 + 1024}, "slices 103 to 106: found values that are not HU"),
        ({"offset": 1024, "dtype": np.uint8}, "103.png: found 8-bit values of 1 channels, expected 16-bit grey values"),
    ],
)
def test_images_in_other_units(lesions, save_slices, refused, changes, message):
    save_slices("000001_01_01", 103, **changes)
    assert message in refused("deep-lesion")


def test_slices_of_another_size(lesions, save_slices, hu, refused):
    save_slices("000001_01_01", 105, values=hu[:-4, :, :2])
    line = refused("deep-lesion")
    assert "105.png: found 32 x 32 pixels, expected 36 x 32" in line


def test_images_that_the_table_does_not_know(lesions, save_slices, refused):
    save_slices("000009_01_01", 7)
    assert "DL_info.csv: found no row of 000009_01_01, expected one for each folder" in refused("deep-lesion")


def test_every_gap_cuts_a_run(write_table, save_slices, hu, prepare):
    """The archive has only some slices around each lesion: no volume reaches over a gap."""
    write_table([row("000001_01_01", 1, (1, 2), 1), row("000002_01_01", 1, (1, 2), 2)])
    for series, first in itertools.product(("000001_01_01", "000002_01_01"), (1, 4, 7)):
        save_slices(series, first, values=hu[:, :, :2])
    names = {file.name for file in (prepare("deep-lesion") / "train").iterdir()}
    assert names == {f"000001_01_01_00{first}-00{first + 1}.nii.gz" for first in (1, 4, 7)}
