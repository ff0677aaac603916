# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from monai_iscs.errors import InputWarning

CASES = ("BDMAP_00000001", "BDMAP_00000002")


@pytest.fixture
def save_case(archive, save_volume, hu):
    def save(case, place=".", values=hu, affine=None):
        folder = archive / place / case
        (folder / "segmentations").mkdir(parents=True)
        save_volume(folder / "segmentations" / "liver.nii.gz", np.zeros_like(values), affine)
        return save_volume(folder / "ct.nii.gz", values, affine)

    return save


@pytest.mark.parametrize("place", [".", "AbdomenAtlas1.0Mini", "AbdomenAtlas/part_1"])
def test_a_folder_for_each_case(save_case, prepare, hu, same, tree, place):
    affine = np.array([[0.8, 0, 0, -31], [0, 0.8, 0, 17], [0, 0, 7.5, -400], [0, 0, 0, 1]])
    for case in CASES:
        save_case(case, place, affine=affine)
    output = prepare("abdomen-atlas")
    files = sorted(output.rglob("*.nii.gz"), key=lambda file: file.name)
    assert [file.name for file in files] == [f"{case}.nii.gz" for case in CASES]
    assert {file.parent.name for file in files} == {"train", "val"}
    assert len(tree(output)) == 5
    for file in files:
        same(file, hu, affine)


def test_a_case_of_masks_alone(save_case, prepare, archive):
    for case in CASES:
        save_case(case)
    (archive / "BDMAP_00000003" / "segmentations").mkdir(parents=True)
    with pytest.warns(InputWarning, match="found 2 cases, left out 1 x case without ct.nii.gz"):
        assert len(list(prepare("abdomen-atlas").rglob("*.nii.gz"))) == 2


def test_what_is_not_abdomen_atlas(save_case, refused, archive):
    (archive / "AbdomenAtlas1.0Mini.tar.gz").write_bytes(b"")
    line = refused("abdomen-atlas")
    assert "expected a folder for each case, as BDMAP_00000001/ct.nii.gz" in line
    assert line.endswith("(unpack AbdomenAtlas1.0Mini.tar.gz first?)")
    save_case("s0001")  # TotalSegmentator
    assert "expected a folder for each case" in refused("abdomen-atlas")
    (archive / "BDMAP_00000003").mkdir()
    assert "found 1 x case without ct.nii.gz, expected" in refused("abdomen-atlas")
    save_case(CASES[0])
    assert refused("abdomen-atlas").startswith(f"{archive}: found 1 patient, expected at least 2")


@pytest.mark.filterwarnings("ignore:.*left out:monai_iscs.errors.InputWarning")
def test_a_case_twice(save_case, refused):
    save_case(CASES[0])
    save_case(CASES[0], "copy")
    assert "found a second scan of BDMAP_00000001" in refused("abdomen-atlas")


def test_values_that_are_not_hu(save_case, refused, hu):
    for case in CASES:
        save_case(case, values=hu + np.int16(1024))
    assert "found values that are not HU" in refused("abdomen-atlas")


def test_pixels_that_are_not_square(save_case, refused, hu):
    for case in CASES:
        save_case(case, affine=np.diag([2.0, 3, 3, 1]))
    assert "ct.nii.gz: found pixels of 2 x 3 mm in its axial slices, expected square ones" in refused("abdomen-atlas")
