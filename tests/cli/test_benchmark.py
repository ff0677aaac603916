# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from monai_iscs.cli import main
from monai_iscs.cli.pipeline import Pipeline


@pytest.fixture(scope="module")
def volume(tmp_path_factory, save_volume, phantom):
    path = tmp_path_factory.mktemp("volumes") / "body.nii.gz"
    save_volume(path, phantom)
    return path


@pytest.fixture
def benchmark(bundle, volume, tmp_path):
    return [
        *("benchmark", str(volume), "--bundle", str(bundle), "--output", str(tmp_path / "out")),
        *("--methods", "fdk", "dds", "dds+slerp"),
    ]


@pytest.fixture
def counted(monkeypatch):
    """Methods and seeds that were really run."""
    runs = []
    sample = Pipeline.sample

    def counting(self, inferer, measurement, callback):
        runs.append((type(inferer.noise).__name__, len(inferer.sigmas), inferer.noise.generator.initial_seed()))
        return sample(self, inferer, measurement, callback)

    monkeypatch.setattr(Pipeline, "sample", counting)
    return runs


def _results(folder):
    return json.loads((folder / "results.json").read_text())["cells"]


def test_a_benchmark_writes_a_table_and_goes_on_where_it_stopped(benchmark, counted, tmp_path, capsys):
    output = tmp_path / "out"
    assert main([*benchmark, "--seeds", "2"]) == 0
    assert len(counted) == 4
    table = (output / "table.md").read_text()
    assert table in capsys.readouterr().out
    for label in ("FDK", "DDS ", "DDS+ISCS"):
        assert f"| {label}" in table
    assert "±" in table
    rows = list(csv.DictReader((output / "table.csv").read_text().splitlines()))
    assert [(row["method"], row["seed"]) for row in rows] == [
        *[("FDK", "0"), ("DDS", "0"), ("DDS", "1"), ("DDS+ISCS", "0"), ("DDS+ISCS", "1")]
    ]
    assert float(rows[0]["coronal dB"]) == pytest.approx(_results(output)[0]["metrics"]["coronal"]["psnr"])
    for name in ("comparison.png", "psnr_along_z.png", "DDS_ISCS/seed_1/reconstruction.nii.gz"):
        assert (output / "body" / name).stat().st_size > 1000

    counted.clear()
    assert main([*benchmark, "--seeds", "2"]) == 0
    assert counted == []
    assert (output / "table.md").read_text() == table

    (output / "body" / "DDS" / "seed_1" / "run.json").write_text("{half")
    assert main([*benchmark, "--seeds", "2"]) == 0
    assert counted == [("IndependentNoise", 3, 1)]


def test_a_changed_setting_reruns_what_it_touches(benchmark, counted, tmp_path):
    assert main(benchmark) == 0
    fdk = tmp_path / "out" / "body" / "FDK" / "seed_0" / "run.json"
    written = fdk.stat().st_mtime_ns
    counted.clear()
    assert main([*benchmark, "--steps", "2"]) == 0
    assert [steps for _, steps, _ in counted] == [2, 2]
    assert fdk.stat().st_mtime_ns == written
    assert main([*benchmark, "--steps", "2", "--views", "5"]) == 0
    assert fdk.stat().st_mtime_ns > written


def test_its_figures_are_those_of_reconstruct(benchmark, bundle, volume, tmp_path):
    assert main(benchmark) == 0
    assert main(["reconstruct", str(volume), "--bundle", str(bundle), "--output", str(tmp_path / "one")]) == 0
    alone = json.loads((tmp_path / "one" / "metrics.json").read_text())
    (cell,) = [cell for cell in _results(tmp_path / "out") if cell["method"] == "DDS+ISCS"]
    for view in ("axial", "coronal", "sagittal"):
        assert cell["metrics"][view]["psnr"] == pytest.approx(alone[view]["psnr"], abs=1e-4)


def test_a_failed_cell_is_told_and_the_others_go_on(benchmark, tmp_path, capsys, save_volume, phantom):
    thin = tmp_path / "thick.nii.gz"
    save_volume(thin, np.full_like(phantom, 30.0))  # constant: no CT volume
    assert main([benchmark[0], str(thin), *benchmark[1:]]) == 0
    table = (tmp_path / "out" / "table.md").read_text()
    assert "- thick, DDS, seed 0: " in table
    assert table.count("failed") > 3
    cells = _results(tmp_path / "out")
    assert all(cell["error"] for cell in cells if cell["volume"] == "thick")
    assert all(cell["metrics"] for cell in cells if cell["volume"] == "body")


def test_ctrl_c_keeps_what_is_done(benchmark, fails, monkeypatch, tmp_path, counted):
    sample = Pipeline.sample

    def stopping(self, inferer, measurement, callback):
        if type(inferer.noise).__name__ == "SlerpNoise":
            raise KeyboardInterrupt
        return sample(self, inferer, measurement, callback)

    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "sample", stopping)
        assert fails(*benchmark, code=130) == "monai-iscs: stopped"
    assert "| DDS " in (tmp_path / "out" / "table.md").read_text()
    counted.clear()
    assert main(benchmark) == 0
    assert [noise for noise, _, _ in counted] == ["SlerpNoise"]


@pytest.mark.parametrize("suite", ["table3", "table8"])
def test_suites_have_their_layout(bundle, volume, tmp_path, suite):
    arguments = ["benchmark", volume, "--bundle", bundle, "--output", tmp_path / "out", "--suite", suite]
    assert main([*map(str, arguments), "--seeds", "1", "--steps", "1"]) == 0
    table = (tmp_path / "out" / "table.md").read_text()
    assert ("signed gap" if suite == "table3" else "DDS+ISCS, 175 degrees") in table


def test_unknown_methods_and_equal_names_are_refused(fails, benchmark, volume):
    assert "method is 'magic'" in fails(*benchmark, "magic")
    assert "two volumes are called body" in fails(benchmark[0], volume, *benchmark[1:])
