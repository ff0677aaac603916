# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import nibabel as nib
import pytest

from monai_iscs.cli import demo, main

METHODS = ["FDK", "DDS", "DDS+ISCS"]


@pytest.fixture
def small_demo(monkeypatch, bundle, body):
    """The demo on the phantom and the small bundle."""
    monkeypatch.setattr(demo, "BUNDLE", str(bundle))
    monkeypatch.setattr(demo, "VOLUME", str(body))
    monkeypatch.setattr(demo, "SETTINGS", {"seed": 0, "steps": 2})


def test_demo_compares_the_methods_on_one_measurement(small_demo, body, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    folder = tmp_path / "demo_output"
    names = {"reconstruction.nii.gz", "preview.png", "metrics.json", "run.json", "table.md"}
    assert {file.name for file in folder.iterdir()} == names
    metrics = json.loads((folder / "metrics.json").read_text())
    assert list(metrics) == METHODS
    assert metrics["DDS"]["axial"]["psnr"] != metrics["DDS+ISCS"]["axial"]["psnr"]
    record = json.loads((folder / "run.json").read_text())
    assert set(METHODS) < set(record["seconds"])
    assert record["settings"]["samplers"]["DDS+ISCS"]["noise"]["name"] == "SlerpNoise"
    assert record["settings"]["samplers"]["DDS"]["noise"]["name"] == "IndependentNoise"
    assert nib.load(folder / "reconstruction.nii.gz").shape == nib.load(body).shape
    captured = capsys.readouterr()
    table = (folder / "table.md").read_text()
    assert table in captured.out
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == METHODS
    assert str(folder / "preview.png") in captured.out
    assert all(f"{stage}:" in captured.err for stage in [*METHODS, "reading", "scanning", "comparing", "writing"])


def test_demo_on_top_of_a_file(fails, small_demo, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert str(tmp_path / "file") in fails("demo", "--output", tmp_path / "file")
