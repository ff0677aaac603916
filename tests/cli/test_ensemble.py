# SPDX-License-Identifier: Apache-2.0
"""`reconstruct --samples`: the mean, the spread, and what is refused."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from monai_iscs.cli import main

FILES = {"reconstruction.nii.gz", "std.nii.gz", "preview.png", "metrics.json", "run.json"}


@pytest.fixture
def run(bundle, body, tmp_path):
    """Reconstructs the phantom; returns its files' folder."""

    def reconstruct(*options: str, output: str = "out"):
        folder = tmp_path / output
        assert main(["reconstruct", str(body), "--bundle", str(bundle), "--output", str(folder), *options]) == 0
        return folder

    return reconstruct


def test_mean_and_spread_in_the_file_s_units_and_grid(run, body, phantom, capsys, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        "monai_iscs.workflows.one_input.three_view_figure",
        lambda *given, maps, **_: (drawn.update(maps or {}), given[-1].touch()),
    )
    single = nib.load(run(output="single") / "reconstruction.nii.gz").get_fdata()
    assert not drawn
    capsys.readouterr()
    folder = run("--samples=2")
    out = capsys.readouterr().out
    assert {file.name for file in folder.iterdir()} == FILES
    mean, std = (nib.load(folder / name) for name in ("reconstruction.nii.gz", "std.nii.gz"))
    for image in (mean, std):
        assert image.shape == phantom.shape
        np.testing.assert_allclose(image.affine, nib.load(body).affine, atol=1e-9)
    # of two samples a ± d, the mean is a and the standard deviation sqrt(2) d: the single run is the first of them; on
    # the file's grid the spread is interpolated after its root
    expected = 2**0.5 * np.abs(single - mean.get_fdata())
    assert np.median(std.get_fdata()[expected > 1] / expected[expected > 1]) == pytest.approx(1, abs=0.1)
    assert np.corrcoef(std.get_fdata().flat, expected.flat)[0, 1] > 0.7
    assert 1 < std.get_fdata().mean() < 500
    assert std.get_fdata().min() >= 0
    record = json.loads((folder / "run.json").read_text())
    assert record["settings"]["sampler"]["result"] == "mean of 2 samples"
    assert record["calibration"] is None
    assert record["settings"]["sampler"]["samples"] == 2
    assert "interval" not in json.loads((folder / "metrics.json").read_text())
    assert "reconstruction.nii.gz is the mean of 2 samples, std.nii.gz their standard deviation." in out
    (line,) = (line for line in out.splitlines() if line.startswith("No interval"))
    assert line.endswith("--samples 2 --output DIR")
    ((title, spread),) = drawn.items()
    assert title == "spread, no interval"
    np.testing.assert_allclose(np.sort(spread.volume.numpy(), None), np.sort(std.get_fdata(), None), atol=0.05)


def test_the_figure_has_a_column_for_the_spread(run):
    assert (run("--samples=2", "--steps=1") / "preview.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--samples=3"], "--samples: found 3, expected 1, or an even number"),
        (["--samples=0"], "argument --samples: found '0', expected a whole number of at least 1"),
        (["--samples=4", "--method=fdk"], "--samples: found with --method fdk, expected with a sampler, dds or ddnm"),
        (["--samples=4", "--method=dds+noiseless"], "samples: found 4 of DDS+noiseless, expected 1: it draws no noise"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_has_no_samples_is_refused(bundle, body, tmp_path, fails, options, message):
    out = tmp_path / "out"
    assert message in fails("reconstruct", body, "--bundle", bundle, "--output", out, *options)
    assert not out.exists()


def test_an_mri_ensemble(mri, thin, tmp_path, monkeypatch):
    """The spread is in the file's own units, whatever its robust maximum is."""
    monkeypatch.setattr("monai_iscs.workflows.one_input.three_view_figure", lambda *given, **_: given[-1].touch())
    given = ["reconstruct", str(thin), "--bundle", str(mri), "--factor=4", "--output"]
    assert main([*given, str(tmp_path / "a")]) == 0
    assert main([*given, str(tmp_path / "b"), "--samples=2"]) == 0
    single, mean, std = (
        nib.load(tmp_path / name).get_fdata()
        for name in ("a/reconstruction.nii.gz", "b/reconstruction.nii.gz", "b/std.nii.gz")
    )
    np.testing.assert_allclose(std, 2**0.5 * np.abs(single - mean), atol=1e-3 * mean.max())
    assert std.max() > 0.01 * mean.max()
