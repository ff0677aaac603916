# SPDX-License-Identifier: Apache-2.0
"""Several inputs, or a folder of them: each has its own results, and one that fails stops no other."""

from __future__ import annotations

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from monai_iscs.cli import main
from monai_iscs.workflows.batch import inputs_in


@pytest.fixture
def given(bundle, tmp_path):
    """The command's options, for a classical method."""
    return ["--bundle", str(bundle), "--device", "cpu", "--method", "fdk", "--output", str(tmp_path / "out")]


def test_a_folder_is_several_inputs_with_the_results_of_single_runs(bodies, bundle, tmp_path):
    """By a sampler: the same bits as one by one, and nothing but a folder for each."""
    options = ["--bundle", str(bundle), "--device", "cpu", "--seed", "3", "--output"]
    assert main(["reconstruct", str(bodies), *options, str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "b", "c"]
    assert main(["reconstruct", str(bodies / "b.nii.gz"), *options, str(tmp_path / "one")]) == 0
    many, one = (nib.load(tmp_path / name / "reconstruction.nii.gz").get_fdata() for name in ("out/b", "one"))
    np.testing.assert_array_equal(many, one)


def test_files_of_one_name_in_two_folders_have_two_results(body, given, tmp_path):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        shutil.copy(body, tmp_path / name / "body.nii.gz")
    assert main(["reconstruct", str(tmp_path / "x"), str(tmp_path / "y" / "body.nii.gz"), *given]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["x_body", "y_body"]


def test_a_broken_input_is_named_and_the_others_are_done(bodies, given, tmp_path, capsys):
    broken = (bodies / "b.nii.gz").read_bytes()[:2000]
    (bodies / "b.nii.gz").write_bytes(broken)
    assert main(["reconstruct", str(bodies), *given]) == 2
    said = capsys.readouterr()
    assert "found 1 of 3 inputs that failed, expected none: b (" in said.err
    assert len(said.err.strip().split("monai-iscs: error")) == 2  # one line
    assert "2 of 3 reconstructed" in said.out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "c"]


def test_the_same_command_does_only_what_is_missing(bodies, given, tmp_path, capsys):
    assert main(["reconstruct", str(bodies), *given]) == 0
    times = {name: (tmp_path / "out" / name / "run.json").stat().st_mtime_ns for name in ("a", "b", "c")}
    (tmp_path / "out" / "b" / "reconstruction.nii.gz").unlink()
    image = nib.load(bodies / "c.nii.gz")
    nib.save(nib.Nifti1Image(image.get_fdata() + 1, image.affine), bodies / "c.nii.gz")  # another volume
    capsys.readouterr()
    assert main(["reconstruct", str(bodies), *given]) == 0
    assert capsys.readouterr().out.count("done already") == 1
    again = {name: (tmp_path / "out" / name / "run.json").stat().st_mtime_ns for name in ("a", "b", "c")}
    assert [name for name in again if again[name] != times[name]] == ["b", "c"]
    assert main(["reconstruct", str(bodies), *given, "--views", "5"]) == 0  # other settings
    assert json.loads((tmp_path / "out" / "a" / "run.json").read_text())["settings"]["views"] == 5


def test_what_a_folder_means(bodies, tmp_path):
    assert [path.name for path in inputs_in(bodies)] == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]
    (bodies / "notes.txt").write_text("nothing to read")
    (bodies / ".hidden.nii.gz").write_bytes(b"")
    assert len(inputs_in(bodies)) == 3
    assert inputs_in(bodies / "a.nii.gz") == [bodies / "a.nii.gz"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert inputs_in(empty) == [empty]


def test_scans_and_volumes_in_one_folder(bodies, measuring, tmp_path, capsys):
    """A scan of a series of its own, beside volumes to simulate from."""
    scan = str(bodies / "d")
    assert main(["simulate", str(bodies / "a.nii.gz"), "--bundle", str(measuring), "--output", scan]) == 0
    assert [path.name for path in inputs_in(bodies)] == ["a.nii.gz", "b.nii.gz", "c.nii.gz", "d"]
    given = ["--bundle", str(measuring), "--device", "cpu", "--method", "sirt", "--output", str(tmp_path / "out")]
    assert main(["reconstruct", str(bodies), *given]) == 0
    assert (tmp_path / "out" / "d" / "seen.nii.gz").is_file()
    assert (tmp_path / "out" / "a" / "metrics.json").is_file()


def test_what_describes_others_is_no_input(bodies):
    """A geometry beside its images, and sidecars beside volumes."""
    (bodies / "a.json").write_text("{}")
    (bodies / "c.xml").write_text("<RTKThreeDCircularGeometry/>")
    assert [path.name for path in inputs_in(bodies)] == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]
    (bodies / "scan.mha").write_bytes(b"")
    (bodies / "scan.xml").write_text("<RTKThreeDCircularGeometry/>")
    assert [path.name for path in inputs_in(bodies)] == ["a.nii.gz", "b.nii.gz", "c.nii.gz", "scan.mha"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--processes-per-volume", "2"], "--processes-per-volume: found 2 of 1 processes"),
        (["--output", "IN/out"], "expected one outside"),
        (["IN/a.nii.gz"], "found twice"),
        (["--every", "2"], "--every: found with a volume"),
    ],
)
def test_what_is_refused_before_the_work(bodies, given, tmp_path, fails, options, error):
    inside = [option.replace("IN", str(bodies)) for option in options]
    first = [str(bodies)] if options[0] != "--processes-per-volume" else [str(bodies / "a.nii.gz")]
    positional = [option for option in inside[:1] if not option.startswith("--")]
    assert error in fails("reconstruct", *first, *positional, *given, *(inside if not positional else []))
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())
