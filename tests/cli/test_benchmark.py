# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_iscs.cli import main
from monai_iscs.studies.suites import SUITES
from monai_iscs.workflows.pipeline import Pipeline


@pytest.fixture(scope="module")
def volume(tmp_path_factory, save_volume, phantom):
    path = tmp_path_factory.mktemp("volumes") / "body.nii.gz"
    save_volume(path, phantom)
    return path


@pytest.fixture
def benchmark(bundle, volume, tmp_path):
    return [
        *("benchmark", str(volume), "--bundle", str(bundle), "--output", str(tmp_path / "out"), "--lpips", "none"),
        *("--methods", "fdk", "dds", "dds+iscs"),
    ]


@pytest.fixture
def counted(monkeypatch):
    """Methods and seeds that were run."""
    runs = []
    sample = Pipeline.sample

    def counting(self, sampler, measured, callback, checkpoint):
        runs.append((type(sampler.recipe.noise).__name__, sampler.steps, sampler.inferer.seed))
        return sample(self, sampler, measured, callback, checkpoint)

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
    for name in ("comparison.png", "psnr_along_z.png", "steps.png", "DDS_ISCS/seed_1/reconstruction.nii.gz"):
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


class FlatDistance:
    """Replaces LPIPS: the test needs no weights."""

    net, smallest_side = "alex", 11

    def __call__(self, x, y, axis, data_range):
        return torch.full((y.shape[axis],), 0.25)


def test_another_metric_measures_kept_results(benchmark, counted, tmp_path, monkeypatch):
    assert main(benchmark) == 0
    before = {cell["method"]: cell["metrics"] for cell in _results(tmp_path / "out")}
    counted.clear()
    monkeypatch.setattr("monai_iscs.cli.benchmark.choose_lpips", lambda _: (FlatDistance(), None))
    assert main(benchmark) == 0
    assert counted == []
    for cell in _results(tmp_path / "out"):
        metrics = cell["metrics"]
        assert metrics["axial"]["lpips"] == 0.25
        assert metrics["axial"]["psnr"] == pytest.approx(before[cell["method"]]["axial"]["psnr"], abs=1e-3)
        assert metrics["data_residual"] == pytest.approx(before[cell["method"]]["data_residual"], rel=1e-3)
    assert "axial LPIPS" in (tmp_path / "out" / "table.md").read_text()

    monkeypatch.setattr("monai_iscs.cli.benchmark.choose_lpips", lambda _: (None, None))
    assert main([*benchmark, "dds+identical"]) == 0  # without LPIPS
    (mixed,) = (row for row in (tmp_path / "out" / "table.md").read_text().splitlines() if "DDS+BCS" in row)
    assert mixed.count("|") == 13


def test_some_slices_only(benchmark, counted, tmp_path):
    output = tmp_path / "out"
    assert main([*benchmark, "--slices", "11"]) == 0
    assert nib.load(output / "body" / "DDS" / "seed_0" / "reconstruction.nii.gz").shape == (36, 32, 11)
    assert "steps 3, central slices 11." in (output / "table.md").read_text()
    counted.clear()
    assert main([*benchmark, "--slices", "12"]) == 0
    assert len(counted) == 2
    assert main([*benchmark, "--slices", "13"]) == 2  # nothing was measured
    assert "found 12 slices, expected at least 13 for --slices" in (output / "table.md").read_text()


def test_an_overriding_config_of_the_bundle(benchmark, bundle, tmp_path, fails):
    changed = shutil.copytree(bundle, tmp_path / "changed")
    (changed / "configs" / "short.json").write_text(json.dumps({"views": 5, "chosen_recipe::steps": 2}))
    arguments = [str(changed) if argument == str(bundle) else argument for argument in benchmark]
    assert main([*arguments, "--config", "short"]) == 0
    assert "views 5, " in (tmp_path / "out" / "table.md").read_text()
    assert [cell["settings"]["sampler"]["sigmas"]["steps"] for cell in _results(tmp_path / "out")[1:]] == [2, 2]
    (changed / "configs" / "short.json").write_text(json.dumps({"vews": 5}))
    assert "inference.json: found no entry 'vews', expected one, which short.json sets" in fails(
        *arguments, "--config", "short"
    )
    assert "long.json: found no such file" in fails(*arguments, "--config", "long")


def test_where_the_file_has_the_prior_s_grid_its_figures_are_those_of_reconstruct(
    benchmark, bundle, phantom, save_volume, tmp_path
):
    square = str(save_volume(tmp_path / "square.nii.gz", phantom[2:-2]))
    assert main([benchmark[0], square, *benchmark[2:]]) == 0
    assert "Simulated on the volumes' own grid" in (tmp_path / "out" / "table.md").read_text()
    given = ["reconstruct", square, "--bundle", str(bundle), "--output", str(tmp_path / "one")]
    assert main(given) == 0
    alone = json.loads((tmp_path / "one" / "metrics.json").read_text())
    (cell,) = [cell for cell in _results(tmp_path / "out") if cell["method"] == "DDS+ISCS"]
    for view in ("axial", "coronal", "sagittal"):
        # the file's values are clipped to the prior's range, those of the benchmark are not
        assert cell["metrics"][view]["psnr"] == pytest.approx(alone[view]["psnr"], abs=0.1)


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

    def stopping(self, sampler, measured, callback, checkpoint):
        if type(sampler.recipe.noise).__name__ == "SlerpNoise":
            raise KeyboardInterrupt
        return sample(self, sampler, measured, callback, checkpoint)

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
    assert main([*map(str, arguments), "--seeds", "1", "--steps", "1", "--lpips", "none"]) == 0
    table = (tmp_path / "out" / "table.md").read_text()
    assert "failed" not in table
    assert {"table3": "signed gap", "table8": "DDS+ISCS, 175 degrees"}[suite] in table


def test_lesions_are_inserted_measured_and_found(bundle, tmp_path, save_volume, phantom, monkeypatch):
    plan = replace(SUITES["lesions"].lesions, diameters=(6.0, 8.0), repeats=1)
    monkeypatch.setitem(SUITES, "lesions", replace(SUITES["lesions"], lesions=plan))
    fine = save_volume(tmp_path / "fine.nii.gz", phantom, np.diag([4.0, 4.0, 4.0, 1.0]))
    arguments = ["benchmark", fine, "--bundle", bundle, "--output", tmp_path / "out", "--suite", "lesions"]
    assert main([*map(str, arguments), "--steps", "1", "--lpips", "none"]) == 0
    table = (tmp_path / "out" / "table.md").read_text()
    assert "8 mm recovered" in table
    assert "failed" not in table
    lesions = {cell["method"]: cell["metrics"]["lesions"] for cell in _results(tmp_path / "out")}
    assert [(lesion["diameter"], round(lesion["contrast"] * 2600)) for lesion in lesions["SIRT"]] == [
        *[(8.0, 40), (8.0, -40), (6.0, 40), (6.0, -40)]
    ]
    found = [lesion["recovered"] for method in lesions.values() for lesion in method]
    assert len(set(found)) == 4 * len(lesions)
    assert np.isfinite(found).all()


@pytest.fixture
def quality(bundle, tmp_path, save_volume, phantom, monkeypatch):
    """The command for the image quality of a fine volume with one or two spheres of each kind."""
    suite = SUITES["image-quality"]
    lesions = replace(suite.lesions, diameters=(6.0, 8.0), contrasts=(40.0, -100.0), repeats=1)
    edges = replace(suite.edges, repeats=1)
    monkeypatch.setitem(SUITES, "image-quality", replace(suite, lesions=lesions, edges=edges))
    for draw, position in (("three_view_figure", 3), ("psnr_curve", 3), ("step_curves", 1)):  # slow, tested elsewhere
        drawn = lambda *given, position=position, **_: given[position].write_text("drawn")  # noqa: E731
        monkeypatch.setattr(f"monai_iscs.studies.drawing.{draw}", drawn)
    fine = save_volume(tmp_path / "fine.nii.gz", phantom, np.diag([4.0, 4.0, 4.0, 1.0]))
    given = ["benchmark", fine, "--bundle", bundle, "--output", tmp_path / "out", "--suite", "image-quality"]
    return [*map(str, given), "--steps", "1", "--lpips", "none"]


def test_image_quality_is_one_table_and_one_figure(quality, counted, tmp_path):
    assert main([*quality, "--seeds", "2"]) == 0
    output = tmp_path / "out"
    table = (output / "table.md").read_text()
    assert "failed" not in table
    assert "MTF 50 %: at the edges of spheres" in table
    rows = list(csv.DictReader((output / "table.csv").read_text().splitlines()))
    assert [row["method"] for row in rows] == ["FDK", "ADMM-TV", "DDS", "DDS", "DDS+ISCS", "DDS+ISCS"]
    assert list(rows[0])[3:] == [
        *("error HU", "NPS mean 1/mm", "MTF 50 % 1/mm", "40 HU, 6 mm kept", "40 HU, 8 mm kept"),
        *("100 HU, 6 mm kept", "100 HU, 8 mm kept", "sFRC suspect share", "sFRC median 1/mm"),
    ]
    # an untrained network loses even bone, and then there is no MTF
    assert all(np.isfinite(float(value)) for row in rows for value in list(row.values())[3:] if value)
    found = {cell["method"]: cell["metrics"]["quality"] for cell in _results(output)}
    assert [round(lesion["inserted"], 2) for lesion in found["FDK"]["lesions"]] == [40, -100, 40, -100]
    for lesion in found["FDK"]["lesions"]:
        assert lesion["contrast"] == pytest.approx(lesion["inserted"], rel=0.1)
    assert found["FDK"]["noise_power"]["noise"] > 1
    assert (output / "fine" / "image_quality.png").stat().st_size > 10_000

    counted.clear()
    assert main([*quality, "--seeds", "2"]) == 0
    assert counted == []
    assert (output / "table.md").read_text() == table


def test_spheres_of_a_suite_need_hounsfield_units(mri, thin, tmp_path):
    given = ["benchmark", str(thin), "--bundle", str(mri), "--output", str(tmp_path / "out"), "--lpips", "none"]
    assert main([*given, "--suite", "image-quality", "--steps", "1", "--factor", "5"]) == 2
    assert "expected HU for the suite's spheres" in (tmp_path / "out" / "table.md").read_text()


def test_the_steps_end_at_the_result(benchmark, tmp_path):
    assert main(benchmark) == 0
    folder = tmp_path / "out" / "body" / "DDS_ISCS" / "seed_0"
    steps = list(csv.DictReader((folder / "steps.csv").read_text().splitlines()))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert len(steps) == 3
    assert float(steps[-1]["coronal_psnr"]) == pytest.approx(metrics["coronal"]["psnr"], abs=1e-4)
    assert float(steps[-1]["slice_gap"]) == pytest.approx(metrics["slice_difference"]["gap"], abs=1e-7)
    assert 0 < metrics["data_residual"] < 0.1


def test_unknown_methods_and_equal_names_are_refused(fails, benchmark, volume):
    assert "--methods: found 'magic'" in fails(*benchmark, "magic")
    assert "found DDS+ISCS twice" in fails(*benchmark, "dds+slerp")
    assert f"{volume}: found twice, expected each volume once" in fails(benchmark[0], volume, *benchmark[1:])
