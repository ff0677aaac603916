# SPDX-License-Identifier: Apache-2.0
"""`calibrate`, and the intervals that `reconstruct` writes from it."""

from __future__ import annotations

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from monai_iscs.cli import main
from monai_iscs.workflows import checkpoint
from monai_iscs.workflows.bundle import find_bundle
from monai_iscs.workflows.calibration import find_calibration
from monai_iscs.workflows.pipeline import Pipeline


@pytest.fixture(scope="module")
def other(tmp_path_factory, save_volume, phantom):
    """Another "patient": the phantom, mirrored and denser."""
    changed = np.where(phantom > -900, phantom * 1.1, phantom)[::-1].astype(np.float32)
    return save_volume(tmp_path_factory.mktemp("other") / "other.nii.gz", changed)


@pytest.fixture(scope="module")
def calibrated(bundle, body, other, tmp_path_factory):
    """A bundle with a calibration, and the folder of the command."""
    folder = tmp_path_factory.mktemp("calibrated")
    copy = shutil.copytree(bundle, folder / "bundle")
    given = ["calibrate", str(body), str(other), "--bundle", str(bundle), "--samples=2", "--slices=8", "--views=7"]
    assert main([*given, "--output", str(folder / "out")]) == 0
    shutil.copy(folder / "out" / "calibration.json", copy / "configs")
    return copy, folder / "out"


def test_the_shipped_calibration_is_of_the_shipped_recipe():
    """Of another task no interval is shown: a recipe's change must not lose it unseen."""
    pipeline = Pipeline(
        find_bundle("body_ct_reconstruction"), device="cpu", network=False, overrides={"recipe": "fast", "samples": 4}
    )
    assert find_calibration(pipeline, pipeline.sampler()) is not None


@pytest.fixture
def no_figure(monkeypatch):
    monkeypatch.setattr("monai_iscs.workflows.one_input.three_view_figure", lambda *given, **_: given[-1].touch())


def test_what_it_writes(calibrated):
    _, out = calibrated
    assert {file.name for file in out.iterdir()} == {"calibration.json", "run.json"}  # no unfinished runs
    (found,) = json.loads((out / "calibration.json").read_text())["calibrations"]
    assert set(found) == {"task", "intervals", "level", "coverage", "left_out", "about"}
    assert found["task"]["samples"] == 2
    assert found["task"]["scan"]["views"] == 7
    assert found["task"]["recipe"]["name"] == "default"
    assert set(found["coverage"]) == set(found["left_out"]) == {"body", "other"}
    assert np.mean(list(found["coverage"].values())) == pytest.approx(0.95, abs=0.01)
    assert found["about"]["slices"] == 8
    assert json.loads((out / "run.json").read_text())["calibration"] == found


def test_reconstruct_writes_intervals_of_the_same_task(calibrated, other, tmp_path, no_figure, capsys):
    bundle, out = calibrated
    given = ["reconstruct", str(other), "--bundle", str(bundle), "--samples=2", "--views=7"]
    assert main([*given, "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert (
        "interval.nii.gz: ± this, for about 95% of the body's voxels on average, fewer in bone; "
        "calibrated on body, other." in printed
    )
    mean, half, std, truth = (
        nib.load(path).get_fdata()
        for path in (*(tmp_path / "out" / f"{n}.nii.gz" for n in ("reconstruction", "interval", "std")), other)
    )
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())["interval"]
    assert found["level"] == 0.95
    assert found["coverage"] == pytest.approx(0.95, abs=0.05)
    inside = truth > -900  # the body, lungs included
    assert (np.abs(mean - truth) <= half)[inside].mean() == pytest.approx(found["coverage"], abs=0.02)
    assert half[inside].mean() == pytest.approx(found["half_width"], rel=0.05)
    (calibration,) = json.loads((out / "calibration.json").read_text())["calibrations"]
    numbers = calibration["intervals"]
    least = numbers["factor"] * numbers["floor"] * 2600
    assert half.min() >= 0.5 * least  # splines may undershoot
    if not numbers["smoothing"]:
        np.testing.assert_allclose(half, numbers["factor"] * np.hypot(std, 2600 * numbers["floor"]), rtol=0.2)
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["calibration"] == calibration


@pytest.mark.parametrize(
    "change",
    [["--samples=4"], ["--views=6"], ["--photons=12000"], ["--steps=2"], ["--method=ddnm"], ["--noise-level=5"]],
)
def test_another_task_has_no_intervals(calibrated, body, tmp_path, no_figure, capsys, change):
    bundle, _ = calibrated
    out = tmp_path / "out"
    given = ["reconstruct", str(body), "--bundle", str(bundle), "--samples=2", "--views=7"]  # a later option wins
    assert main([*given, *change, "--output", str(out)]) == 0
    assert not (out / "interval.nii.gz").exists()
    printed = capsys.readouterr().out
    (line,) = (line for line in printed.splitlines() if line.startswith("No interval"))
    command = line.partition("This makes one: ")[2]
    assert command.startswith(f"monai-iscs calibrate VOLUME... --bundle {bundle} ")
    assert f" {change[0].replace('=', ' ')} " in command


def test_other_calibrations_are_kept_and_its_own_replaced(calibrated, body, tmp_path):
    bundle, _ = calibrated
    given = ["calibrate", str(body), "--bundle", str(bundle), "--samples=2", "--slices=4", "--steps=1"]
    for views in (7, 5):
        out = tmp_path / str(views)
        assert main([*given, f"--views={views}", "--output", str(out)]) == 0
        found = json.loads((out / "calibration.json").read_text())["calibrations"]
        assert [entry["task"]["scan"]["views"] for entry in found] == [7, views]
        assert found[-1]["left_out"] == {}


def test_it_goes_on_with_the_volume_that_it_was_at(calibrated, bundle, body, other, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "MOST_TIME", 1e9)
    save, saved = checkpoint.Checkpoint.save, []

    def save_and_stop(self: checkpoint.Checkpoint, run: object) -> None:
        save(self, run)
        saved.append(run)
        if len(saved) == 8:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.Checkpoint, "save", save_and_stop)
    given = ["calibrate", str(body), str(other), "--bundle", str(bundle), "--samples=2", "--slices=8", "--views=7"]
    given += ["--output", str(tmp_path / "out")]
    assert main(given) == 130
    assert main(given) == 0
    assert len(saved) == 12
    _, whole = calibrated
    found, expected = ((folder / "calibration.json").read_text() for folder in (tmp_path / "out", whole))
    assert found == expected
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"calibration.json", "run.json"}


def test_an_mri_calibration(mri, thin, tmp_path, no_figure):
    """Of thick slices, in any signal's unit."""
    bundle = shutil.copytree(mri, tmp_path / "bundle")
    given = [str(thin), "--bundle", str(bundle), "--samples=2", "--factor=4", "--output"]
    assert main(["calibrate", *given, str(tmp_path / "c")]) == 0
    shutil.copy(tmp_path / "c" / "calibration.json", bundle / "configs")
    assert main(["reconstruct", *given, str(tmp_path / "r")]) == 0
    mean, half, truth = (
        nib.load(path).get_fdata()
        for path in (*(tmp_path / "r" / f"{name}.nii.gz" for name in ("reconstruction", "interval")), thin)
    )
    assert json.loads((tmp_path / "r" / "metrics.json").read_text())["interval"]["coverage"] > 0.9
    assert (np.abs(mean - truth) <= half)[truth > 500].mean() > 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--samples=1"], "--samples: found 1, expected an even number: one sample has no spread"),
        (["--samples=3"], "--samples: found 3, expected 1, or an even number"),
        (["--method=fdk"], "--method: found fdk, expected a sampler"),
        (["--method=dds+noiseless"], "samples: found 4 of DDS+noiseless, expected 1"),
        (["--slices=99"], "found 12 slices, expected at least 99 for --slices"),
    ],
)
def test_bad_input(bundle, body, tmp_path, fails, options, message):
    assert message in fails("calibrate", body, "--bundle", bundle, "--output", tmp_path / "out", *options)
    assert not (tmp_path / "out" / "calibration.json").exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"calibrations": [{}]}', '{"calibrations": [{"intervals": 3}]}'])
def test_a_damaged_calibration_is_reported_before_the_work(bundle, body, tmp_path, fails, content):
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    (copy / "configs" / "calibration.json").write_text(content)
    for verb in ("calibrate", "reconstruct"):
        line = fails(verb, body, "--bundle", copy, "--samples=2", "--output", tmp_path / "out")
        assert "calibration.json: found" in line
        assert "expected calibrations" in line
