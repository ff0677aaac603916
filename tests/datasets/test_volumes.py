# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from monai_iscs.datasets.volumes import split_by_hash
from monai_iscs.errors import InputError

FOLDER = Path("archive")
PATIENTS = [f"BDMAP_{number:08d}" for number in range(1, 2001)]


def test_the_split_is_that_of_the_hashes_alone():
    splits = split_by_hash(FOLDER, PATIENTS)
    expected = {name: int(hashlib.sha256(name.encode()).hexdigest()[:16], 16) / 2**64 < 0.1 for name in PATIENTS}
    assert {name: split == "val" for name, split in splits.items()} == expected
    assert 160 < list(splits.values()).count("val") < 240
    for part in (PATIENTS[:300], PATIENTS[::-7]):  # a part of the data set, in another order
        assert split_by_hash(FOLDER, part) == {name: splits[name] for name in part}


@pytest.mark.parametrize("patients", [PATIENTS[:2], [*PATIENTS[10:13]], ["IXI002", "IXI012"]])
def test_somebody_is_in_each_split(patients):
    assert set(split_by_hash(FOLDER, patients).values()) == {"train", "val"}


def test_patients_who_must_be_in_val():
    splits = split_by_hash(FOLDER, PATIENTS)
    trained = next(name for name, split in splits.items() if split == "train")
    assert split_by_hash(FOLDER, PATIENTS, val=[trained]) == {**splits, trained: "val"}
    assert split_by_hash(FOLDER, PATIENTS, val=["nobody"]) == splits


def test_one_patient_cannot_be_split():
    with pytest.raises(InputError, match="archive: found 1 patient, expected at least 2"):
        split_by_hash(FOLDER, ["L004", "L004"])
