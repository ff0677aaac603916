# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from monai_iscs.cli import main

CASES = ("BDMAP_00000001", "BDMAP_00000002")


@pytest.fixture
def cases(tmp_path, save_volume, phantom):
    for case in CASES:
        (tmp_path / "atlas" / case).mkdir(parents=True)
        save_volume(tmp_path / "atlas" / case / "ct.nii.gz", phantom.astype(np.int16))
    return tmp_path / "atlas"


def test_the_prepared_folder_trains(cases, bundle, tmp_path, capsys):
    data, prior = tmp_path / "data", tmp_path / "prior"
    assert main(["prepare", "abdomen-atlas", str(cases), "--output", str(data)]) == 0
    out, err = capsys.readouterr()
    assert "Licence: CC BY-NC-SA 4.0" in out
    assert "doi:10.1016/j.media.2024.103285" in out
    assert out.endswith(f"{data}: volumes (train 1, val 1), manifest.csv, LICENSE.txt\n")
    assert "2/2" in err
    line = ["train", "--bundle", str(bundle), "--dataset", str(data), "--output", str(prior), "--epochs", "1"]
    assert main(line) == 0
    assert (prior / "model.pt").is_file()


def test_a_prepared_mr_folder_trains(mri, tmp_path, save_volume, brain, affine):
    for name in ("IXI002-Guys-0828-T1.nii.gz", "IXI012-HH-1211-T1.nii.gz"):
        save_volume(tmp_path / name, brain.astype(np.int16), affine)
    data, prior = tmp_path / "data", tmp_path / "prior"
    data.mkdir()
    (tmp_path / "ixi").mkdir()
    for file in tmp_path.glob("IXI*"):
        file.rename(tmp_path / "ixi" / file.name)
    assert main(["prepare", "ixi", str(tmp_path / "ixi"), "--output", str(data)]) == 0
    line = ["train", "--bundle", str(mri), "--dataset", str(data), "--output", str(prior), "--epochs", "1"]
    assert main(line) == 0
    assert (prior / "model.pt").is_file()


def test_another_data_set_is_one_line_and_no_folder(fails, cases, tmp_path):
    line = fails("prepare", "ixi", cases, "--output", tmp_path / "data")
    assert f"{cases}: found 2 other files or folders ({', '.join(CASES)}), expected IXI-T1.tar" in line
    assert not (tmp_path / "data").exists()


def test_an_unusable_volume_is_one_line_and_no_folder(fails, cases, tmp_path):
    for case in CASES:
        (cases / case / "ct.nii.gz").write_bytes(b"nothing")
    line = fails("prepare", "abdomen-atlas", cases, "--output", tmp_path / "data")
    assert f"{cases / CASES[0] / 'ct.nii.gz'}: found no whole NIfTI header" in line
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["imagenet", "{}"], "argument DATASET: invalid choice: 'imagenet'"),
        (["ixi", "{}/nowhere"], "argument FOLDER: found "),
        (["abdomen-atlas", "{}/BDMAP_00000001/ct.nii.gz"], "ct.nii.gz: found a file, expected a folder"),
    ],
)
def test_arguments_that_cannot_be_used(fails, cases, tmp_path, arguments, message):
    filled = [argument.format(cases) for argument in arguments]
    assert message in fails("prepare", *filled, "--output", tmp_path / "data")


def test_the_output_is_outside_the_archive(fails, cases):
    line = fails("prepare", "abdomen-atlas", cases, "--output", cases / "data")
    assert "found an output inside the input" in line


def test_another_run_in_the_same_folder(fails, cases, taken, tmp_path):
    taken(tmp_path / "data")
    line = fails("prepare", "abdomen-atlas", cases, "--output", tmp_path / "data")
    assert "found another run that is writing there" in line
