# SPDX-License-Identifier: Apache-2.0
"""Files that the verbs may overwrite, and files that they keep."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from monai_iscs.cli import main
from monai_iscs.reports import RunFolder, read_results, write_json
from monai_iscs.workflows.pipeline import Pipeline


@pytest.fixture(scope="module", autouse=True)
def no_figures():
    """Leaves out the slowest step: writes a file of the same name that is not a picture."""
    with pytest.MonkeyPatch.context() as patch:
        for room in ("workflows.one_input", "cli.evaluate"):
            patch.setattr(f"monai_iscs.{room}.three_view_figure", lambda *given, **_: given[3].write_text("drawn"))
        yield


@pytest.fixture(scope="module")
def done(bundle, body, tmp_path_factory) -> Path:
    """A finished reconstruction by FDK; treat as read-only."""
    folder = tmp_path_factory.mktemp("done") / "run"
    command = ["reconstruct", str(body), "--bundle", str(bundle), "--method", "fdk", "--output", str(folder)]
    assert main(command) == 0
    return folder


@pytest.fixture
def run(done, tmp_path) -> Path:
    """A copy of it, which the test must not change."""
    folder = shutil.copytree(done, tmp_path / "run")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    yield folder
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()} == before


@pytest.fixture
def no_work(monkeypatch):
    """Errors come before anything is read."""
    monkeypatch.setattr(Pipeline, "load", lambda *_: pytest.fail("the work has begun"))


@pytest.fixture
def reconstruct(bundle):
    return lambda volume, output: ["reconstruct", volume, "--bundle", bundle, "--method", "fdk", "--output", output]


def test_the_record_names_the_hash_of_each_file(done):
    record = read_results(done)
    assert {*record["files"], "run.json"} == {file.name for file in done.iterdir()}
    assert all(len(digest) == 64 for digest in record["files"].values())


@pytest.mark.parametrize("name", ["reconstruction.nii.gz", "preview.png", "run.json", "metrics.json"])
def test_a_damaged_file_is_noticed(run, tmp_path, name):
    damaged = shutil.copytree(run, tmp_path / "damaged")
    content = (damaged / name).read_bytes()
    (damaged / name).write_bytes(content[: len(content) // 2])
    assert read_results(damaged) is None
    (damaged / name).unlink()
    assert read_results(damaged) is None


@pytest.mark.parametrize("way", ["itself", "a symbolic link", "a hard link", "a folder's link"])
def test_a_reconstruction_never_goes_over_its_input(fails, reconstruct, run, tmp_path, no_work, way):
    volume = output = run / "reconstruction.nii.gz"
    link = tmp_path / "body.nii.gz"
    if way == "a symbolic link":
        link.symlink_to(volume)
        volume = link
    elif way == "a hard link":
        os.link(volume, link)
        volume = link
    output = run
    if way == "a folder's link":
        output = tmp_path / "link"
        output.symlink_to(run)
    assert "reconstruction.nii.gz: found the input where the results go" in fails(*reconstruct(volume, output))


def test_nor_over_what_an_earlier_run_leaves_and_it_would_remove(fails, reconstruct, run, tmp_path, no_work):
    folder = tmp_path / "ensemble"
    with RunFolder(folder).results() as stage:
        shutil.copy(run / "reconstruction.nii.gz", stage / "std.nii.gz")
        write_json(stage / "run.json", {})
    line = fails(*reconstruct(folder / "std.nii.gz", folder))
    assert f"{folder / 'std.nii.gz'}: found the input where the results go" in line


def test_nor_into_a_folder_that_is_its_input(fails, reconstruct, tmp_path, no_work):
    series = tmp_path / "series"
    series.mkdir()
    (series / "1.dcm").write_bytes(b"\0")
    for output in (series, series / "result", series / "a" / "b"):
        assert f"{output}: found an output inside the input {series}" in fails(*reconstruct(series, output))
    assert [file.name for file in series.iterdir()] == ["1.dcm"]


def test_a_folder_in_the_way(fails, reconstruct, body, run, no_work):
    (run / "std.nii.gz").mkdir()  # not a name of this run
    for name in ("preview.png", "metrics.json"):
        content = (run / name).read_bytes()
        (run / name).unlink()
        (run / name / "mine").mkdir(parents=True)
        assert f"{run / name}: found a folder where a result goes" in fails(*reconstruct(body, run))
        shutil.rmtree(run / name)
        (run / name).write_bytes(content)
    (run / "std.nii.gz").rmdir()


def test_files_of_the_user_stay(fails, reconstruct, body, tmp_path, no_work):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "metrics.json").write_text("mine")
    line = fails(*reconstruct(body, tmp_path / "mine"))
    assert f"{tmp_path / 'mine' / 'metrics.json'}: found a file that is not of an earlier run" in line
    assert (tmp_path / "mine" / "metrics.json").read_text() == "mine"


def test_an_earlier_run_goes_as_a_whole(reconstruct, body, run, tmp_path):
    folder = tmp_path / "earlier"
    with RunFolder(folder).results() as stage:
        for name in ("reconstruction.nii.gz", "std.nii.gz"):
            (stage / name).write_text("old")
        write_json(stage / "run.json", {})
    (folder / "notes.txt").write_text("mine")
    assert main([str(argument) for argument in reconstruct(body, folder)]) == 0
    assert {file.name for file in folder.iterdir()} == {*(file.name for file in run.iterdir()), "notes.txt"}
    assert read_results(folder) is not None


def test_an_evaluation_keeps_out_of_a_run(fails, run, body, tmp_path):
    command = ["evaluate", run / "reconstruction.nii.gz", body, "--window", -1000, 1600, "--lpips", "none", "--output"]
    assert f"{run}: found the results of another run there, expected another folder" in fails(*command, run)
    for _ in range(2):  # it replaces its own file
        assert main([*map(str, command), str(tmp_path / "judged")]) == 0
        record = read_results(tmp_path / "judged", "metrics.json")
        assert list(record["files"]) == ["preview.png"]
    assert "axial" in json.loads((tmp_path / "judged" / "metrics.json").read_text())


def test_a_folder_that_another_run_writes_to(fails, reconstruct, bundle, body, run, tmp_path, taken, no_work):
    taken(run)
    busy = f"{run}: found another run that is writing there"
    assert busy in fails(*reconstruct(body, run))
    assert busy in fails("train", "--bundle", bundle, "--dataset", tmp_path, "--output", run)
    assert busy in fails("benchmark", body, "--bundle", bundle, "--methods", "fdk", "--output", run)


def test_a_disk_that_is_full(fails, reconstruct, body, small_disk):
    disk = small_disk(megabytes=0.03, files=50)
    line = fails(*reconstruct(body, disk / "run"))
    assert f"{disk / 'run'}: the disk is full (0 MB free), " in line
    assert not list(disk.iterdir())


def test_inodes_that_are_used_up(fails, reconstruct, body, small_disk):
    disk = small_disk(megabytes=5, files=6)
    for index in range(4):
        (disk / str(index)).touch()
    line = fails(*reconstruct(body, disk))
    assert f"{disk}: the disk has no room for another file" in line
