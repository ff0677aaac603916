# SPDX-License-Identifier: Apache-2.0
"""A long helix in slabs, through the command."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_iscs import ConeBeamGeometry, ConeBeamProjector, Projections, write_ct_pd, write_projections
from monai_iscs.cli import main
from monai_iscs.grid import Grid
from monai_iscs.scans import slabs
from monai_iscs.scans.readers import ct_pd
from monai_iscs.workflows import checkpoint

pytest.importorskip("pydicom")
FILES = {"reconstruction.nii.gz", "preview.png", "seen.nii.gz", "run.json"}
VIEWS = 130


@pytest.fixture(scope="module")
def projections(body):
    """The phantom about the origin, 96 mm of it, from ten turns of 16 mm; a view sees 21.6 mm of the axis."""
    image = nib.as_closest_canonical(nib.load(body))
    grid = Grid.centered(image.shape, (8.0, 8.0, 8.0))
    angles = 2 * np.pi * (np.arange(VIEWS) - (VIEWS - 1) / 2) / 13
    circle = ConeBeamGeometry.circular(
        source_to_isocenter=600,
        source_to_detector=1000,
        angles=angles,
        detector_shape=(6, 48),
        detector_pitch=(6, 12),
    )
    up = 16 * angles[:, None] / (2 * np.pi) * [0, 0, 1]
    geometry = replace(circle, source=circle.source + up, detector=circle.detector + up)
    attenuation = 0.02 * (1 + torch.from_numpy(image.get_fdata(dtype=np.float32).copy()) / 1000)
    noise = 0.005 * torch.randn(geometry.projection_shape, generator=torch.Generator().manual_seed(0))
    return Projections(data=ConeBeamProjector(geometry, grid)(attenuation) + noise, geometry=geometry)


@pytest.fixture(scope="module")
def series(projections, tmp_path_factory):
    return write_ct_pd(projections, tmp_path_factory.mktemp("long") / "series")


@pytest.fixture
def given(series, phantom, measuring, tmp_path):
    """The command's arguments: the phantom's grid."""

    def options(*more, file=series, output="out"):
        where = ["--spacing", 8, "--shape", *phantom.shape, "--center", 0, 0, 0]
        fixed = ["reconstruct", file, "--bundle", measuring, "--output", tmp_path / output, *where]
        return [str(option) for option in (*fixed, *more)]

    return options


@pytest.fixture
def reconstruct(given, tmp_path):
    def run(*more, output="out", files=FILES):
        assert main(given(*more, output=output)) == 0
        folder = tmp_path / output
        assert {path.name for path in folder.iterdir()} == files
        return nib.load(folder / "reconstruction.nii.gz"), json.loads((folder / "run.json").read_text())

    return run


def test_three_slabs_are_one_volume(reconstruct, body, tmp_path):
    """To 4 HU of one run, of a phantom from -1,000 to 700; no worse at the seams."""
    once, alone = reconstruct("--method", "sirt", "--slab", 500, output="once")
    image, run = reconstruct("--method", "sirt", "--slab", 32)
    assert run["notes"][-1] == (
        f"found a helix of {VIEWS} views, reconstructed in 3 slabs of 32 mm and 16 mm that neighbours share"
    )
    assert not any("slabs" in note for note in alone["notes"])
    assert run["settings"]["slab"] == 32
    np.testing.assert_allclose(image.affine, once.affine, atol=1e-4)
    assert image.get_data_dtype() == once.get_data_dtype()
    away = image.get_fdata() - once.get_fdata()
    assert np.sqrt(np.square(away).mean((0, 1))).max() < 4
    change, usual = (np.abs(np.diff(volume.get_fdata(), axis=2)).mean((0, 1)) for volume in (image, once))
    assert change[[3, 7]] == pytest.approx(usual[[3, 7]], rel=0.02)  # between slices 3 and 4, 7 and 8: the seams
    truth = nib.as_closest_canonical(nib.load(body)).get_fdata()
    assert np.corrcoef(image.get_fdata()[..., 2:-2].ravel(), truth[..., 2:-2].ravel())[0, 1] > 0.9
    seen = [nib.load(tmp_path / output / "seen.nii.gz").get_fdata() for output in ("once", "out")]
    assert np.abs(seen[1] - seen[0])[..., 2:-2].mean() < 0.05
    # each view once: those that do not meet the volume are left out
    residuals = run["residual_of_each_view"]
    assert 0.7 * VIEWS < len(residuals) < VIEWS == len(alone["residual_of_each_view"])
    assert max(residuals) < max(alone["residual_of_each_view"]) + 0.01
    assert len(run["chi_square_of_each_view"]) == len(residuals)


def test_a_sampler_in_slabs(reconstruct):
    files = {*FILES, "std.nii.gz", "dicom"}
    once, _ = reconstruct("--steps", 2, "--samples", 2, "--slab", 500, "--dicom", output="once", files=files)
    image, run = reconstruct("--steps", 2, "--samples", 2, "--slab", 32, "--dicom", files=files)
    away = np.sqrt(np.square(image.get_fdata() - once.get_fdata())[..., 2:-2].mean())
    assert away < 0.1 * once.get_fdata().std()
    assert np.isfinite(run["residual_of_each_view"]).all()


def test_only_the_views_of_a_slab_are_read_at_a_time(given, monkeypatch):
    """And no more of the others than tell how wide the body is."""
    monkeypatch.setattr("monai_iscs.workflows.slabs.SURVEYED", 30)
    read, pixels, plan = [], ct_pd.read_pixels, []
    monkeypatch.setattr(ct_pd, "read_pixels", lambda view: read.append(view.instance) or pixels(view))
    make = slabs.plan_slabs
    monkeypatch.setattr("monai_iscs.workflows.slabs.plan_slabs", lambda *given: plan.append(make(*given)) or plan[0])
    assert main(given("--method", "sirt", "--slab", 32)) == 0
    parts = [[view + 1 for view in slab.views] for slab in plan[0].slabs]
    assert read[30:] == list(itertools.chain(*parts))
    assert max(map(len, parts)) < 0.7 * VIEWS


def test_a_killed_run_goes_on_with_the_unfinished_slab(given, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checkpoint, "MOST_TIME", 1e9)  # save every step, even a fast one
    options = ("--slab", 32, "--steps", 3)
    assert main(given(*options, output="whole")) == 0
    save, saved = checkpoint.Checkpoint.save, []

    def save_and_stop(self, run):
        save(self, run)
        saved.append(run)
        if len(saved) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.Checkpoint, "save", save_and_stop)
    assert main(given(*options, output="stopped")) == 130
    capsys.readouterr()
    assert main(given(*options, output="stopped")) == 0
    assert "Went on after step 5 of 9" in capsys.readouterr().out
    assert len(saved) == 9
    whole, stopped = (tmp_path / name for name in ("whole", "stopped"))
    for file in ("reconstruction.nii.gz", "seen.nii.gz"):
        np.testing.assert_array_equal(*(nib.load(folder / file).get_fdata() for folder in (whole, stopped)))
    runs = [json.loads((folder / "run.json").read_text()) for folder in (whole, stopped)]
    assert runs[0]["residual_of_each_view"] == runs[1]["residual_of_each_view"]
    assert {path.name for path in stopped.iterdir()} == FILES


def test_another_length_of_slabs_begins_anew(given, monkeypatch, capsys):
    save = checkpoint.Checkpoint.save

    def save_and_stop(self, run):
        save(self, run)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.Checkpoint, "save", save_and_stop)
    assert main(given("--slab", 32, "--steps", 2)) == 130
    monkeypatch.setattr(checkpoint.Checkpoint, "save", save)
    assert main(given("--slab", 48, "--steps", 2)) == 0
    assert "Went on" not in capsys.readouterr().out


def test_what_needs_too_much_at_once_goes_in_slabs(reconstruct, monkeypatch):
    monkeypatch.setattr(slabs, "BUDGET", slabs.BASE)
    _, run = reconstruct("--method", "sirt")
    assert "reconstructed in 3 slabs of 32 mm" in run["notes"][-1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--slab", 5], "slab: found 5 mm, expected at least 32 mm of this helix"),
        (["--slab", 0], "--slab"),
        (["--slab", 32, "--explain"], "--explain: found a scan that is reconstructed in slabs"),
        (["--slab", 32, "--method", "dds+adaptive"], "noise: found adaptive, which follows the whole estimate"),
        (["--slab", 32, "--method", "fdk"], "fdk: found a source that moves"),
    ],
)
def test_what_is_refused(fails, given, tmp_path, options, said):
    assert said in fails(*given(*options))
    assert not (tmp_path / "out").exists()


def test_a_circle_has_no_slabs(fails, given, projections, tmp_path):
    geometry = projections.geometry
    flat = replace(geometry, source=geometry.source * [1, 1, 0], detector=geometry.detector * [1, 1, 0])
    file = write_projections(replace(projections, geometry=flat), tmp_path / "circle.mha")
    said = fails(*given("--slab", 32, file=file))
    assert "slab: found 32 mm for a scan that sees its volume at once, expected a helix" in said
