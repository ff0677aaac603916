# SPDX-License-Identifier: Apache-2.0
"""benchmarks/clinical_images.py on a simulated helix, with the simulated volume as the vendor's images."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_iscs.cli import main
from monai_iscs.grid import Grid
from monai_iscs.reports import write_dicom_series
from monai_iscs.workflows.bundle import find_bundle

pytest.importorskip("pydicom")

CENTER = np.array([12.0, -20.0, 330.0])  # mm; the images lie about it, the projections about their own axis


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parents[2] / "benchmarks" / "clinical_images.py"
    spec = spec_from_file_location("clinical_images", path)
    module = module_from_spec(spec)
    sys.modules["clinical_images"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def patient(bundle, tmp_path_factory):
    """A bundle, projections and images: 24 slices of 5 mm."""
    folder = tmp_path_factory.mktemp("patient")
    shutil.copytree(bundle, folder / "tiny")
    shipped = find_bundle("body_ct_reconstruction") / "configs"
    config = json.loads((shipped / "measured.json").read_text())
    config["ckpt_path"] = "$@bundle_root + '/models/model.pt'"
    (folder / "tiny" / "configs" / "measured.json").write_text(json.dumps(config))
    (folder / "tiny" / "configs" / "metadata.json").write_text((shipped / "metadata.json").read_text())
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (32, 28, 24)), indexing="ij")
    volume = np.full(x.shape, -1000.0)
    volume[(x / 0.8) ** 2 + (y / 0.75) ** 2 < 1] = 40
    volume[((x - 0.35) / 0.25) ** 2 + ((y - 0.2) / 0.3) ** 2 + ((z - 0.4) / 0.5) ** 2 < 1] = -800
    volume[((x + 0.3) / 0.2) ** 2 + ((y + 0.35) / 0.2) ** 2 + ((z + 0.3) / 0.4) ** 2 < 1] = 500
    grid = Grid.centered(volume.shape, (8.0, 8.0, 5.0), center=CENTER)
    image = MetaTensor(torch.from_numpy(volume).float()[None], affine=torch.tensor(grid.affine, dtype=torch.float64))
    write_dicom_series(image, folder / "images")
    given = ["simulate", folder / "images", "--bundle", folder / "tiny", "--output", folder / "projections"]
    assert main([*map(str, given), "--views", "24", "--table-feed", "50", "--photons", "1e5"]) == 0
    return folder


def test_the_images_are_found_and_compared(script, patient, tmp_path, capsys):
    options = ["--", "--spacing", "8", "8", "5"]
    given = [patient / "projections", patient / "images", "--output", tmp_path, "--bundle", patient / "tiny"]
    script.main([*map(str, given), "--methods", "sirt", *options])
    (row,) = csv.DictReader((tmp_path / "table.csv").read_text().splitlines())
    assert [float(value) for value in row["moved R A S mm"].split()] == pytest.approx([12, -20, 0], abs=1.5)
    assert float(row["HU"]) == pytest.approx(0, abs=60)
    assert float(row["|HU|"]) < 90
    assert 0 < float(row["noise"]) < 60
    assert float(row["images' noise"]) == 0
    assert float(row["axial dB"]) > 20
    assert "upside down" not in capsys.readouterr().out
    assert (tmp_path / "beside_images.png").stat().st_size > 10_000
    assert (tmp_path / "table.md").exists()


def test_images_that_are_upside_down_are_told(script, patient, tmp_path, capsys):
    given = [patient / "projections", patient / "images", "--output", tmp_path, "--bundle", patient / "tiny"]
    options = ["--", "--spacing", "8", "8", "5", "--position", "FFP"]  # turned by half a turn about x
    script.main([*map(str, given), "--methods", "sirt", *options])
    assert "upside down" in capsys.readouterr().out


def test_slices_are_averaged_over_their_thickness(script):
    """A step between thin slices becomes a ramp as long as the slices are thick."""
    grid = Grid.centered((4, 4, 40), (1.0, 1.0, 1.0))
    step = torch.zeros(4, 4, 40)
    step[..., 20:] = 100.0
    found = script.thick(step, grid, grid, 8.0)[1, 1]
    ramp = np.clip((np.arange(40) - 19.5) / 8 + 0.5, 0, 1) * 100
    assert found.numpy() == pytest.approx(ramp, abs=3)


def test_noise_of_soft_tissue(script):
    volume = 40 + 12 * torch.randn(100, 100, 8, generator=torch.Generator().manual_seed(0))
    soft = torch.zeros(100, 100, 8, dtype=torch.bool)
    soft[10:80, 10:80] = True
    volume[~soft] = 1000
    assert script.noise_of(volume, soft) == pytest.approx(12, rel=0.03)
    assert np.isnan(script.noise_of(volume, ~soft & soft))
