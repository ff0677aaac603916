# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import numpy as np
import pytest

from monai_iscs.cli import main


@pytest.fixture
def noisy(tmp_path, save_volume, phantom):
    """The phantom with Gaussian noise of 40 HU."""
    noise = np.random.default_rng(0).normal(0, 40, phantom.shape)
    return save_volume(tmp_path / "noisy.nii.gz", (phantom + noise).astype(np.float32))


def test_psnr_in_a_window_is_the_one_computed_by_hand(body, noisy, phantom, tmp_path, capsys):
    output = tmp_path / "out"
    assert main(["evaluate", str(noisy), str(body), "--window", "-2000", "2000", "--output", str(output)]) == 0
    assert {file.name for file in output.iterdir()} == {"metrics.json", "preview.png"}
    metrics = json.loads((output / "metrics.json").read_text())
    # nothing is clipped, so that the error is the noise and the range is the phantom's
    assert metrics["axial"]["psnr"] == pytest.approx(20 * np.log10((phantom.max() - phantom.min()) / 40), abs=0.1)
    assert metrics["slice_difference"]["gap"] > 0
    assert f"{metrics['axial']['psnr']:.2f}" in capsys.readouterr().out


def test_the_bundle_judges_a_reconstruction_as_reconstruct_does(bundle, body, tmp_path):
    base = ["--bundle", str(bundle), "--output"]
    assert main(["reconstruct", str(body), "--method", "sirt", *base, str(tmp_path / "a")]) == 0
    result = tmp_path / "a" / "reconstruction.nii.gz"
    assert main(["evaluate", str(result), str(body), *base, str(tmp_path / "b")]) == 0
    run, judged = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in "ab")
    # the way to the file's grid and back interpolates
    for view in ("axial", "coronal", "sagittal"):
        assert judged[view]["psnr"] == pytest.approx(run[view]["psnr"], abs=1.5)


def test_without_output_nothing_is_written(body, noisy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    assert main(["evaluate", str(noisy), str(body), "--window", "-160", "240"]) == 0
    assert set(tmp_path.iterdir()) == before


def test_volumes_that_do_not_belong_together(fails, body, phantom, tmp_path, save_volume):
    small = save_volume(tmp_path / "small.nii.gz", phantom[:-1])
    assert "shape" in fails("evaluate", small, body, "--window", -1000, 1600)
    moved = save_volume(tmp_path / "moved.nii.gz", phantom, np.diag([-8.0, 8.0, 7.0, 1.0]))
    assert "grid" in fails("evaluate", moved, body, "--window", -1000, 1600)


def test_a_window_upside_down(fails, body):
    assert "--window: found 240 -160" in fails("evaluate", body, body, "--window", 240, -160)
