# SPDX-License-Identifier: Apache-2.0
"""The MRI bundle at the command line: thick slices that are simulated, and thick slices that were measured."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_iscs.cli import main


@pytest.fixture(scope="module")
def thick(tmp_path_factory, save_volume, brain, affine) -> Path:
    """A scanner's file: five slices of 4 mm, without the brain's last two millimetres."""
    slices = brain[..., :20].reshape(*brain.shape[:2], 5, 4).mean(-1)
    step = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 4, 1.5], [0, 0, 0, 1]])
    return save_volume(tmp_path_factory.mktemp("thick") / "thick.nii.gz", slices, affine @ step)


@pytest.fixture
def run(mri, tmp_path):
    """Reconstructs; returns the volume, the metrics (or None) and the run's record."""

    def reconstruct(*arguments: object, output: str = "out"):
        folder = tmp_path / output
        given = ["reconstruct", *map(str, arguments), "--bundle", str(mri), "--output", str(folder)]
        assert main(given) == 0
        metrics = folder / "metrics.json"
        scores = json.loads(metrics.read_text()) if metrics.exists() else None
        assert (folder / "preview.png").exists()
        return nib.load(folder / "reconstruction.nii.gz"), scores, json.loads((folder / "run.json").read_text())

    return reconstruct


@pytest.fixture
def no_figure(monkeypatch):
    """Leaves out the slowest steps where they do not matter."""
    for module in ("workflows.one_input", "cli.evaluate", "studies.drawing"):
        figure = f"monai_iscs.{module}.three_view_figure"
        monkeypatch.setattr(figure, lambda *given, **_: given[3].touch())


@pytest.mark.parametrize("method", ["dds", "ddnm", "cubic"])
def test_a_simulated_scan_is_scored_and_comes_back_on_the_file_s_grid(
    run, no_figure, thin, brain, affine, capsys, method
):
    image, metrics, record = run(thin, "--factor", 5, "--method", method)
    assert image.shape == brain.shape
    np.testing.assert_allclose(image.affine, affine, atol=1e-9)
    values = image.get_fdata()
    # the result's averages are the thick slices, for any untrained network
    means, expected = (v[..., :20].reshape(*brain.shape[:2], 4, 5).mean(-1) for v in (values, brain))
    assert np.median(np.abs(means - expected)[expected > 700]) < (50 if method == "cubic" else 2)
    assert metrics["coronal"]["psnr"] > 12
    assert record["settings"]["factor"] == 5
    assert record["settings"]["profile"] == "BoxProfile(width=1.0)"
    assert "| axial dB" in capsys.readouterr().out


def test_a_fraction_and_a_last_partial_slice(run, no_figure, thin, brain):
    image, metrics, _ = run(thin, "--factor", 3.3, "--method", "cubic")
    assert image.shape == brain.shape
    assert metrics["coronal"]["psnr"] > 18


@pytest.mark.parametrize("method", ["dds", "cubic"])
def test_measured_slices_become_isotropic_without_scores(run, thick, brain, affine, capsys, tmp_path, method):
    (tmp_path / "out").mkdir()
    for name in ("metrics.json", "run.json"):  # of an earlier version, whose record names no files
        (tmp_path / "out" / name).write_text("{}")
    image, metrics, record = run(thick, "--method", method)
    assert metrics is None
    assert record["settings"]["factor"] is None
    assert image.shape == (30, 34, 20)
    np.testing.assert_allclose(image.header.get_zooms(), 1, atol=1e-6)
    # in world coordinates it is the scanned brain; the result's x goes to the right
    values = image.get_fdata()[::-1]
    shift = image.affine @ [29, 0, 0, 1]
    np.testing.assert_allclose(shift, affine[:, 3], atol=1e-9)
    if method == "dds":
        means = values.reshape(30, 34, 5, 4).mean(-1)
        expected = nib.load(thick).get_fdata()
        assert np.median(np.abs(means - expected)[expected > 700]) < 2
    assert np.abs(values - brain[..., :20]).mean() < 60
    out = capsys.readouterr().out
    assert "reconstruction.nii.gz" in out
    assert "metrics.json" not in out
    assert "dB" not in out


def test_evaluate_judges_in_the_bundle_s_units(mri, run, no_figure, thin, tmp_path):
    _, metrics, _ = run(thin, "--factor", 5, "--method", "cubic")
    result = tmp_path / "out" / "reconstruction.nii.gz"
    arguments = ["evaluate", result, thin, "--bundle", mri, "--lpips", "none", "--output", tmp_path / "judged"]
    assert main([str(a) for a in arguments]) == 0
    judged = json.loads((tmp_path / "judged" / "metrics.json").read_text())
    assert judged.pop("files").keys() == {"preview.png"}
    assert judged == metrics  # to the last digit


def test_a_benchmark_of_simulated_scans(mri, no_figure, thin, tmp_path):
    arguments = ["benchmark", thin, "--bundle", mri, "--output", tmp_path / "table", "--methods", "cubic", "dds+iscs"]
    assert main([*map(str, arguments), "--factor", "5"]) == 0
    cells = json.loads((tmp_path / "table" / "results.json").read_text())["cells"]
    assert [cell["error"] for cell in cells] == [None, None]
    assert all(cell["metrics"]["coronal"]["psnr"] > 12 for cell in cells)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "thin.nii.gz: found voxels of 1 x 1 x 1 mm, isotropic already"),
        (["--factor", 1], "--factor: found '1', expected a number above 1"),
        (["--factor", 23], "factor: found 23, expected more than 1 and at most 22, the number of slices"),
        (["--factor", 5, "--views", 30], "found no entry 'views'"),
        (["--factor", 5, "--method", "fdk"], "method: found 'fdk', expected one that"),
    ],
)
def test_what_cannot_be_done_with_a_thin_scan(fails, mri, thin, tmp_path, options, message):
    method = [] if "--method" in options else ["--method", "cubic"]
    line = fails("reconstruct", thin, "--bundle", mri, "--output", tmp_path / "o", *method, *options)
    assert message in line


def test_noise_is_for_simulated_slices(fails, run, no_figure, mri, thin, thick, tmp_path):
    line = fails("reconstruct", thick, "--bundle", mri, "--output", tmp_path / "o", "--noise-std", 0.02)
    assert "--noise-std: found without --factor" in line
    _, clean, _ = run(thin, "--factor", 5, "--method", "cubic")
    _, noisy, record = run(thin, "--factor", 5, "--method", "cubic", "--noise-std", 0.05, output="noisy")
    assert noisy["axial"]["psnr"] < clean["axial"]["psnr"] - 0.3
    assert record["settings"]["measurement_noise"] == "GaussianNoise(std=0.05)"


def test_thick_slices_to_simulate_from(fails, mri, thick, tmp_path):
    line = fails("reconstruct", thick, "--bundle", mri, "--output", tmp_path / "o", "--factor", 5, "--method", "cubic")
    assert "too thick to simulate" in line


@pytest.mark.parametrize("options", [[], ["--factor", 5]])
def test_ct_given_to_the_mri_bundle(fails, mri, body, tmp_path, options):
    line = fails("reconstruct", body, "--bundle", mri, "--output", tmp_path / "o", "--method", "cubic", *options)
    assert "body.nii.gz" in line
    assert "expected MR magnitudes" in line
    assert "a CT in HU" in line


def test_mri_given_to_the_ct_bundle(fails, bundle, thin, tmp_path):
    line = fails("reconstruct", thin, "--bundle", bundle, "--output", tmp_path / "o", "--method", "fdk")
    assert "thin.nii.gz" in line
    assert "not HU" in line
    assert "found no entry 'factor'" in fails(
        "reconstruct", thin, "--bundle", bundle, "--output", tmp_path / "o", "--method", "fdk", "--factor", 5
    )
