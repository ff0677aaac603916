# SPDX-License-Identifier: Apache-2.0
"""A stopped `reconstruct` goes on, if nothing that its result depends on has changed."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from monai_iscs.cli import main
from monai_iscs.workflows import checkpoint


@pytest.fixture
def stop(monkeypatch):
    """``stop(steps)``: Ctrl-C after that many saved steps."""
    save = checkpoint.Checkpoint.save
    monkeypatch.setattr(checkpoint, "MOST_TIME", 1e9)  # save every step, even a fast one

    def after(steps: int) -> None:
        def save_and_stop(self: checkpoint.Checkpoint, run: object) -> None:
            save(self, run)
            if run.state.index + 1 == steps:
                raise KeyboardInterrupt

        monkeypatch.setattr(checkpoint.Checkpoint, "save", save_and_stop)

    return after


@pytest.mark.parametrize(
    "options",
    [
        ["--method", "dds+iscs"],
        ["--method", "ddnm", "--eta", "0.5"],
        ["--method", "dds+tv+identical-steps", "--photons", "1e4"],
        ["--recipe", "fast", "--steps", "3"],
        ["--recipe", "paper", "--steps", "3"],
    ],
    ids=" ".join,
)
def test_goes_on_with_the_bits_of_a_run_that_never_stopped(bundle, body, tmp_path, stop, capsys, options):
    def run(name: str) -> int:
        return main(["reconstruct", str(body), "--bundle", str(bundle), *options, "--output", str(tmp_path / name)])

    assert run("whole") == 0
    stop(2)
    assert run("stopped") == 130
    assert [file.name for file in (tmp_path / "stopped").iterdir()] == [checkpoint.NAME]
    stop(0)
    capsys.readouterr()
    assert run("stopped") == 0
    assert "Went on after step 2 of 3" in capsys.readouterr().out
    whole, stopped = (nib.load(tmp_path / name / "reconstruction.nii.gz").get_fdata() for name in ("whole", "stopped"))
    assert np.array_equal(whole, stopped)
    assert sorted(f.name for f in (tmp_path / "stopped").iterdir()) == sorted(
        f.name for f in (tmp_path / "whole").iterdir()
    )
    assert json.loads((tmp_path / "stopped" / "run.json").read_text())["resumed_after_step"] == 2


@pytest.mark.parametrize("change", [["--seed", "1"], ["--eta", "0.9"], ["--views", "7"]], ids=" ".join)
def test_another_setting_begins_anew(bundle, body, tmp_path, stop, capsys, change):
    given = ["reconstruct", str(body), "--bundle", str(bundle), "--output", str(tmp_path / "out")]
    stop(2)
    assert main(given) == 130
    stop(0)
    assert main([*given, *change]) == 0
    assert "Went on" not in capsys.readouterr().out
    assert not (tmp_path / "out" / checkpoint.NAME).exists()


@pytest.mark.parametrize("after", [2, 3, 7])
def test_an_ensemble_goes_on_with_the_same_bits(bundle, body, tmp_path, monkeypatch, capsys, after):
    """Inside the first sample, between two samples, and inside the third one."""
    monkeypatch.setattr(checkpoint, "MOST_TIME", 1e9)
    monkeypatch.setattr("monai_iscs.workflows.one_input.three_view_figure", lambda *given, **_: given[-1].touch())
    save, saved = checkpoint.Checkpoint.save, []

    def save_and_stop(self: checkpoint.Checkpoint, run: object) -> None:
        save(self, run)
        saved.append(run)
        if len(saved) == after:
            raise KeyboardInterrupt

    def run(name: str) -> int:
        given = ["reconstruct", str(body), "--bundle", str(bundle), "--samples", "4"]
        return main([*given, "--output", str(tmp_path / name)])

    assert run("whole") == 0
    monkeypatch.setattr(checkpoint.Checkpoint, "save", save_and_stop)
    assert run("stopped") == 130
    capsys.readouterr()
    assert run("stopped") == 0
    assert f"Went on after step {after} of 12" in capsys.readouterr().out
    for file in ("reconstruction.nii.gz", "std.nii.gz"):
        whole, stopped = (nib.load(tmp_path / name / file).get_fdata() for name in ("whole", "stopped"))
        assert np.array_equal(whole, stopped)
    assert len(saved) == 12
