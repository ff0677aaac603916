# SPDX-License-Identifier: Apache-2.0
"""A benchmark goes on only from complete results."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from monai_iscs.cli import main
from monai_iscs.reports import read_results
from monai_iscs.studies.study import Study
from monai_iscs.studies.volumes import distinct_names
from monai_iscs.workflows.fingerprint import fingerprint

DAMAGE = {
    "missing": lambda file: file.unlink(),
    "truncated": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "empty": lambda file: file.write_bytes(b""),
}


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    """Leaves out the slowest step: writes files of the same names that are not pictures."""
    for draw, position in (("three_view_figure", 3), ("psnr_curve", 3), ("step_curves", 1)):
        drawn = lambda *given, position=position, **_: given[position].write_text("drawn")  # noqa: E731
        monkeypatch.setattr(f"monai_iscs.studies.drawing.{draw}", drawn)


@pytest.fixture
def volume(body, tmp_path) -> Path:
    return Path(shutil.copy(body, tmp_path / "body.nii.gz"))


@pytest.fixture
def command(bundle):
    def build(volume: Path, output: Path) -> list[str]:
        methods = ["--methods", "fdk", "dds", "--steps", "1", "--lpips", "none"]
        return ["benchmark", str(volume), "--bundle", str(bundle), "--output", str(output), *methods]

    return build


@pytest.fixture(scope="module")
def finished(bundle, body, tmp_path_factory) -> Path:
    """A benchmark without its figures, as after a kill at the last cell; treat as read-only."""
    folder = tmp_path_factory.mktemp("finished") / "out"
    given = ["benchmark", str(body), "--bundle", str(bundle), "--output", str(folder)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Study, "_draw", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main([*given, "--methods", "fdk", "dds", "--steps", "1", "--lpips", "none"]) == 130
    return folder


@pytest.fixture
def output(finished, tmp_path) -> Path:
    return shutil.copytree(finished, tmp_path / "out")


@pytest.fixture
def reconstructed(monkeypatch) -> list[str]:
    """The methods that were run."""
    ran = []
    reconstruct = Study._reconstruct

    def noting(self, shared, cell, *others):
        ran.append(cell.label)
        return reconstruct(self, shared, cell, *others)

    monkeypatch.setattr(Study, "_reconstruct", noting)
    return ran


def test_figures_are_drawn_when_they_are_missing_or_damaged(command, volume, output, reconstructed):
    for spoil in (lambda _: None, *DAMAGE.values()):
        if (output / "body" / "figures.json").exists():
            spoil(output / "body" / "comparison.png")
        assert main(command(volume, output)) == 0
        figures = read_results(output / "body", "figures.json")
        assert list(figures["files"]) == ["comparison.png", "psnr_along_z.png", "steps.png"]
    drawn = (output / "body" / "comparison.png").stat().st_mtime_ns
    assert main(command(volume, output)) == 0
    assert (output / "body" / "comparison.png").stat().st_mtime_ns == drawn
    assert reconstructed == []


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("reconstruction.nii.gz", "truncated"),
        ("metrics.json", "empty"),
        ("steps.csv", "missing"),
        ("run.json", "empty"),
    ],
)
def test_a_cell_that_is_not_whole_is_run_again(command, volume, output, reconstructed, name, damage):
    cell = output / "body" / "DDS" / "seed_0"
    DAMAGE[damage](cell / name)
    assert main(command(volume, output)) == 0
    assert set(read_results(cell)["files"]) == {"reconstruction.nii.gz", "metrics.json", "steps.csv"}
    assert reconstructed == ["DDS"]
    shown = read_results(output / "body", "figures.json")["cells"]
    assert set(shown) == {"FDK", "DDS"}


def test_a_volume_that_changes_is_never_recorded_as_the_earlier_one(
    command, volume, tmp_path, monkeypatch, save_volume, phantom
):
    run = Study.run

    def changing(self):
        save_volume(volume, phantom + 5)
        run(self)

    with monkeypatch.context() as patch:
        patch.setattr(Study, "run", changing)
        assert main(command(volume, tmp_path / "new")) == 2
    table = (tmp_path / "new" / "table.md").read_text()
    assert f"{volume}: found a file that changed while the benchmark ran" in table
    assert not list((tmp_path / "new").rglob("run.json"))


def test_nor_is_a_model_that_changes(fails, command, bundle, volume, tmp_path, monkeypatch):
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    digests = iter("ab")
    monkeypatch.setattr("monai_iscs.cli.benchmark.fingerprint", lambda _: next(digests))
    given = [str(copy) if argument == str(bundle) else argument for argument in command(volume, tmp_path / "new")]
    assert f"{copy / 'models'}: found a model that changed while it was read" in fails(*given)


def test_no_cell_goes_over_a_volume(fails, command, output, tmp_path):
    (output / "body").rename(output / "reconstruction")
    volume = output / "reconstruction" / "FDK" / "seed_0" / "reconstruction.nii.gz"
    before = volume.read_bytes()
    assert f"{volume}: found the input where the results go" in fails(*command(volume, output))
    assert volume.read_bytes() == before


def test_the_tables_have_a_record(output):
    record = json.loads((output / "results.json").read_text())
    assert set(record["files"]) == {"table.md", "table.csv"}
    assert read_results(output, "results.json") is not None


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["x/1.2.840.1.nii.gz", "x/1.2.840.2.nii.gz"], ["1.2.840.1", "1.2.840.2"]),
        (["x.1.nii.gz", "x.2.nii", "x.3.mha", "x.4.NRRD", "x.5.dcm"], ["x.1", "x.2", "x.3", "x.4", "x.5"]),
        (["x/1.2.840.1", "x/1.2.840.2"], ["1.2.840.1", "1.2.840.2"]),  # DICOM folders
        (["a/body.nii.gz", "b/body.nii.gz"], ["a_body", "b_body"]),
        (["b/body.nii.gz", "c.nii", "a/body.nii.gz"], ["b_body", "c", "a_body"]),
        (["p1/ct/body.nii.gz", "p2/ct/body.nii.gz"], ["p1_ct_body", "p2_ct_body"]),
        (["a/body.nii.gz", "a/body.nrrd"], ["body.nii.gz", "body.nrrd"]),
        (["results.json.nii", ".nii"], ["results.json.nii", ".nii"]),
    ],
)
def test_names_are_whole_and_differ(tmp_path, files, expected):
    assert distinct_names([tmp_path / file for file in files]) == expected


@pytest.mark.parametrize(
    "header",
    [
        "ObjectType = Image\nDimSize = 1 1 1\nElementSpacing = 1 1 1\nElementDataFile = {}\n",
        "NRRD0004\nsizes: 1 1 1\nspacings: 1 1 1\ndata file: {}\n",
        "NRRD0004\nsizes: 1 1 1\nspacings: 1 1 1\ndata file: LIST\n{}\n",
    ],
)
@pytest.mark.parametrize("beside", [True, False])
def test_a_volume_in_two_files_has_the_hash_of_both(tmp_path, header, beside):
    folder = tmp_path / "headers"
    folder.mkdir()
    file = folder / ("body.mhd" if "ObjectType" in header else "body.nhdr")
    voxels = folder / "voxels.raw" if beside else tmp_path / "voxels.raw"
    file.write_text(header.format(voxels.name if beside else voxels))
    voxels.write_bytes(b"1")
    before = fingerprint(file)
    voxels.write_bytes(b"2")
    assert fingerprint(file) != before


def test_the_hash_of_a_folder_is_of_names_and_contents(tmp_path):
    series = tmp_path / "series"
    series.mkdir()
    (series / "1").write_bytes(b"ab")
    (series / "2").write_bytes(b"c")
    before = fingerprint(series)
    assert fingerprint(shutil.copytree(series, tmp_path / "copy")) == before
    (series / "1").write_bytes(b"a")
    (series / "2").write_bytes(b"bc")
    assert fingerprint(series) != before
