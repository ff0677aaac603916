# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv

import pytest

from monai_iscs.datasets.archives import ARCHIVES
from monai_iscs.datasets.mayo import find_grand_challenge, find_ldct
from monai_iscs.datasets.preparing import find_volumes
from monai_iscs.errors import InputError, InputWarning

EXTRA = {"train/L067.nii.gz", "val/L506.nii.gz", "manifest.csv", "LICENSE.txt", "prepare.json"}
IMAGES = "1.000000-Full Dose Images-59704"


@pytest.mark.filterwarnings("ignore:.*expected all ten patients:monai_iscs.errors.InputWarning")
@pytest.mark.parametrize("place", ["{}/full_1mm", "FD_1mm/full_1mm/{}/full_1mm", "1mm B30/full_1mm/{}"])
def test_the_challenge_is_split_as_in_the_paper(save_series, prepare, hu, series_affine, same, tree, place):
    save_series(place.format("L067"), SliceThickness=1, PatientID="L067")
    save_series(place.format("L506"), values=hu[::-1], SliceThickness=1)
    output = prepare("aapm-2016")
    assert tree(output) == EXTRA
    same(output / "train" / "L067.nii.gz", hu, series_affine)
    same(output / "val" / "L506.nii.gz", hu[::-1], series_affine)
    with (output / "manifest.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert rows[0]["file"] == "train/L067.nii.gz"
    assert rows[0]["source"] == place.format("L067")
    assert [(row["patient"], row["split"], row["doi"]) for row in rows] == [
        ("L067", "train", "10.1002/mp.12345"),
        ("L506", "val", "10.1002/mp.12345"),
    ]
    assert "Med. Phys. 44(10)" in (output / "LICENSE.txt").read_text()


def test_other_series_and_patients_of_the_challenge_are_left_out_with_a_warning(save_series, archive, hu):
    for patient in ("L067", "L096", "L109", "L143", "L192", "L286", "L291", "L310", "L506", "L999"):
        save_series(f"{patient}/full_1mm", values=hu[:, :, :1])
    save_series("full_1mm/L067/quarter_3mm", values=hu[:, :, :1])
    for other in ("quarter_1mm", "full_3mm", "full_1mm_sharp", "full_DICOM-CT-PD"):
        save_series(f"L067/{other}", values=hu[:, :, :1])
    with pytest.warns(InputWarning) as warned:
        volumes = find_grand_challenge(archive)
    assert {volume.patient: volume.split for volume in volumes if volume.split == "val"} == {"L506": "val"}
    assert len(volumes) == 9
    absent, line = (str(warning.message) for warning in warned)
    assert absent == f"{archive}: found no L333, expected all ten patients for the paper's training"
    assert "found 9 series full_1mm, left out 1 x " in line
    for name in ("quarter_3mm", "quarter_1mm", "full_3mm", "full_1mm_sharp", "full_DICOM-CT-PD", "full_1mm of others"):
        assert name in line


@pytest.mark.filterwarnings("ignore:.*expected all ten patients:monai_iscs.errors.InputWarning")
@pytest.mark.parametrize(
    ("place", "elements", "message"),
    [
        ("L096/full_1mm", {"PatientID": "L109"}, "found PatientID L109, expected L096"),
        ("L096/full_1mm", {"SliceThickness": 3}, "found slices of 3 mm, expected 1 mm in full_1mm"),
        ("copy/L067/full_1mm", {}, "found a second scan of L067"),
    ],
)
def test_folders_of_the_challenge_that_contradict_themselves(save_series, refused, archive, place, elements, message):
    for patient in ("L067", "L506"):
        save_series(f"{patient}/full_1mm")
    save_series(place, **elements)
    line = refused("aapm-2016")
    assert message in line
    assert line.startswith(str(archive / place))


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([], "found nothing, expected the series full_1mm in a folder for each patient"),
        (["L067/quarter_1mm"], "found 1 x quarter_1mm, expected the series full_1mm"),
        (["LIDC-IDRI-0001/CT"], "found 1 x CT, expected the series full_1mm"),
        (["L067/full_1mm"], "found patients L067, expected L506, for val, and others for train"),
        (["L506/full_1mm"], "found patients L506, expected L506, for val, and others for train"),
    ],
)
def test_what_is_not_the_challenge(save_series, refused, archive, places, message):
    for place in places:
        save_series(place)
    line = refused("aapm-2016")
    assert line.startswith(f"{archive}: ")
    assert message in line


def test_two_series_in_one_folder_are_refused(save_series, refused, archive):
    save_series("L067/full_1mm")
    save_series("L067/full_1mm", series="1.2.4")
    save_series("L506/full_1mm")
    with pytest.warns(InputWarning, match="expected all ten patients"):
        line = refused("aapm-2016")
    assert line.startswith(f"{archive / 'L067' / 'full_1mm'}: found 2 DICOM series")


def test_ldct_as_its_downloader_lays_it_out(save_series, prepare, hu, series_affine, same, tree):
    root = "manifest-1/LDCT-and-Projection-data"
    for patient, values in (("L004", hu), ("L221", hu[::-1])):
        study = f"{root}/{patient}/08-21-2018-84608"
        elements = {"PatientID": patient, "ending": ".dcm"}
        save_series(f"{study}/{IMAGES}", values=values, SeriesDescription="Full dose images", **elements)
        save_series(f"{study}/1.000000-Low", SeriesDescription="Low Dose Images", **elements)
        save_series(f"{study}/1.000000-P", SeriesDescription="Full Dose Projections", **elements)
    save_series(f"{root}/ACR/{IMAGES}", SeriesDescription="Full Dose Images", PatientID="ACR_Phantom", ending=".dcm")
    with pytest.warns(InputWarning, match="left out 2 x series 'Low Dose Images', 2 x series 'Full Dose Projections'"):
        output = prepare("ldct")
    assert tree(output) == {
        "train/L004.nii.gz", "val/L221.nii.gz", "manifest.csv", "LICENSE.txt", "prepare.json"
    }  # fmt: skip
    same(output / "train" / "L004.nii.gz", hu, series_affine)
    same(output / "val" / "L221.nii.gz", hu[::-1], series_affine)


def test_a_study_of_ldct_that_is_there_twice(save_series, archive):
    for study in ("08-21-2018-84608", "12-23-2021-NA-NA-40816"):
        save_series(f"L004/{study}/{IMAGES}", SeriesDescription="Full Dose Images", PatientID="L004")
    with pytest.raises(InputError, match=r"12-23-2021.*found a second scan of L004, also in .*08-21-2018"):
        find_ldct(archive)


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"SeriesDescription": "B30f", "PatientID": "LIDC-IDRI-0001"}, "found 1 x series 'B30f', expected series"),
        ({"PatientID": "L004"}, "found 1 x series 'no SeriesDescription', expected series 'Full Dose Images'"),
        ({"SeriesDescription": "Full Dose Images", "PatientID": "X1"}, "found 1 x patient 'X1', expected series"),
        ({"SeriesDescription": "Full Dose Images", "PatientID": "L004"}, "found 1 patient, expected at least 2"),
    ],
)
def test_what_is_not_ldct(save_series, refused, elements, message):
    save_series("some/series", **elements)
    assert message in refused("ldct")


def test_an_archive_that_is_still_packed(refused, archive):
    (archive / "FD_1mm.zip").write_bytes(b"PK")
    assert "found 1 other files or folders (FD_1mm.zip)" in (line := refused("aapm-2016"))
    assert line.endswith("(unpack FD_1mm.zip first?)")
    with pytest.raises(InputError, match=r"FD_1mm\.zip: found a file, expected a folder"):
        find_volumes(ARCHIVES["ldct"], archive / "FD_1mm.zip")
