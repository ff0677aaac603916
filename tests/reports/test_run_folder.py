# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import json
import os

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_iscs.errors import InputError
from monai_iscs.reports import RunFolder, write_json, write_volume


def contents(folder) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


def test_results_appear_when_all_are_complete(tmp_path):
    folder = RunFolder(tmp_path / "runs" / "a")
    with folder.results() as stage:
        (stage / "one.txt").write_text("1")
        (stage / "two.txt").write_text("2")
        assert stage.parent == folder.path  # so that the final names appear by renaming only
        assert not (folder.path / "one.txt").exists()
    assert contents(folder.path) == {"one.txt": "1", "two.txt": "2"}


def test_new_results_replace_old_ones(tmp_path):
    (tmp_path / "one.txt").write_text("old")
    (tmp_path / "mine.txt").write_text("mine")
    with RunFolder(tmp_path).results() as stage:
        (stage / "one.txt").write_text("new")
    assert contents(tmp_path) == {"one.txt": "new", "mine.txt": "mine"}


@pytest.mark.parametrize("problem", [KeyboardInterrupt, RuntimeError])
def test_a_failure_leaves_earlier_results_untouched(tmp_path, problem):
    (tmp_path / "one.txt").write_text("old")
    folder = RunFolder(tmp_path)

    def fail():
        with folder.results() as stage:
            (stage / "one.txt").write_text("half")
            raise problem

    with pytest.raises(problem):
        fail()
    assert contents(tmp_path) == {"one.txt": "old"}


@pytest.mark.parametrize(
    ("code", "message"), [(errno.ENOSPC, r"disk is full \(\d+ MB free\)"), (errno.EIO, "can't be written")]
)
def test_the_disk_fails_while_writing(tmp_path, monkeypatch, code, message):
    (tmp_path / "reconstruction.nii.gz").write_text("old")
    folder = RunFolder(tmp_path)

    def save(image, path):
        path.write_text("half")
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(nibabel, "save", save)
    with pytest.raises(InputError, match=rf"^{tmp_path}: .*{message}"), folder.results() as stage:
        write_volume(stage / "reconstruction.nii.gz", MetaTensor(torch.zeros(1, 2, 2, 2)))
    assert contents(tmp_path) == {"reconstruction.nii.gz": "old"}


def test_the_output_is_a_file(tmp_path):
    (tmp_path / "taken").write_text("x")
    with pytest.raises(InputError, match=rf"^{tmp_path / 'taken'}: found a file, expected a folder"):
        RunFolder(tmp_path / "taken")
    with pytest.raises(InputError, match=r"taken/below: .*can't be written"):
        RunFolder(tmp_path / "taken" / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_can_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="can't be written"):
        RunFolder(tmp_path)


def test_a_folder_on_a_read_only_file_system():
    with pytest.raises(InputError, match=r"^/proc/run: the output folder can't be written"):
        RunFolder("/proc/run")


def test_checking_leaves_nothing_behind(tmp_path):
    RunFolder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_json(tmp_path):
    content = {
        "psnr": float("inf"),
        "views": (1, 2),
        "nested": {"nan": [float("nan"), 0.5]},
        "path": tmp_path,
        "n": None,
    }
    write_json(tmp_path / "a.json", content)
    expected = {"psnr": None, "views": [1, 2], "nested": {"nan": [None, 0.5]}, "path": str(tmp_path), "n": None}
    assert json.loads((tmp_path / "a.json").read_text()) == expected


def test_volume_keeps_values_grid_and_units(tmp_path):
    affine = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]])
    values = torch.randn(1, 4, 5, 6) * 1000
    write_volume(tmp_path / "a.nii.gz", MetaTensor(values, affine=affine))
    image = nibabel.load(tmp_path / "a.nii.gz")
    assert image.get_data_dtype() == np.float32
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), values[0])
    for form, code in (image.get_sform(coded=True), image.get_qform(coded=True)):
        np.testing.assert_allclose(form, affine, atol=1e-5)
        assert code == 1
    assert image.header.get_xyzt_units()[0] == "mm"
