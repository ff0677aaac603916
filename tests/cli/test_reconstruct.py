# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import sys

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor

from monai_iscs.cli import main
from monai_iscs.files import sha256
from monai_iscs.methods import parse_method
from monai_iscs.reports import write_dicom_series
from monai_iscs.transforms import LoadVolume

FILES = {"reconstruction.nii.gz", "preview.png", "metrics.json", "run.json"}


@pytest.fixture
def run(bundle, body, tmp_path):
    """Reconstructs the phantom; returns the volume, the metrics and the run's record."""

    def reconstruct(*options: str, output: str = "out"):
        folder = tmp_path / output
        arguments = ["reconstruct", str(body), "--bundle", str(bundle), "--output", str(folder), *options]
        assert main(arguments) == 0
        assert {file.name for file in folder.iterdir()} == FILES
        records = [json.loads((folder / name).read_text()) for name in ("metrics.json", "run.json")]
        return nib.load(folder / "reconstruction.nii.gz"), *records

    return reconstruct


@pytest.fixture
def no_figure(monkeypatch):
    """Leaves out the slowest steps where they do not matter."""
    monkeypatch.setattr("monai_iscs.workflows.one_input.three_view_figure", lambda *given, **_: given[-1].touch())


@pytest.mark.parametrize(
    "options",
    [["--method", name] for name in ("dds", "ddnm", "dds-tv", "fdk", "sirt", "admm-tv")],
    ids=lambda o: o[1],
)
def test_every_method_gives_hounsfield_units_on_the_input_s_grid(run, body, phantom, capsys, options):
    image, metrics, record = run(*options)
    assert image.shape == phantom.shape
    np.testing.assert_allclose(image.affine, nib.load(body).affine, atol=1e-9)
    # six views and a prior that was never trained; with a consistency step that does nothing: -685, -915, -576, 11.6 dB
    water, air, bone, lung = (np.median(image.get_fdata()[phantom == value]) for value in (30, -1000, 700, -850))
    assert abs(water - 30) < 160
    assert air < -950
    assert bone > 150
    assert lung < -250
    assert metrics["axial"]["psnr"] > 16
    label = parse_method(options[1]).label
    assert record["settings"]["method"] == label
    assert record["seconds"]["reconstructing"] > 0
    table = capsys.readouterr().out
    assert "| axial dB" in table
    assert f"| {label} " in table


@pytest.mark.parametrize(
    ("options", "label", "noise"),
    [
        ([], "DDS+ISCS", "SlerpNoise"),
        (["--method", "dds"], "DDS", "IndependentNoise"),
        (["--method", "dds+slerp"], "DDS+ISCS", "SlerpNoise"),
    ],
)
def test_the_noise_is_the_method_s_and_without_one_the_bundle_s(run, no_figure, capsys, options, label, noise):
    *_, record = run(*options, "--steps", "1")
    assert (record["settings"]["method"], record["settings"]["sampler"]["noise"]["name"]) == (label, noise)
    assert f"| {label} |" in " ".join(capsys.readouterr().out.split())


def test_options_reach_the_run(run, no_figure):
    options = {"views": 5, "arc": 200.0, "row_spacing": 4.0, "photons": 5e4, "noise_std": 0.01}
    given = [f"--{name.replace('_', '-')}={value:g}" for name, value in options.items()]
    *_, record = run(*given, "--steps=2", "--eta=0.5", "--method=dds", "--recipe=released", "--seed=3")
    settings = record["settings"]
    assert {name: settings[name] for name in options} == options
    sampler = settings["sampler"]
    assert sampler["sigmas"] == {"name": "Geometric", "steps": 2, "first": 5.0, "last": 0.01}
    assert (sampler["rule"]["eta"], sampler["noise"]["name"]) == (0.5, "IndependentNoise")
    assert sampler["replaced"] == {"method": "dds", "steps": 2, "eta": 0.5}
    assert record["seed"] == 3


def test_the_seed_decides(run, no_figure):
    first, again, other = (run(f"--seed={seed}", output=name)[0] for seed, name in ((1, "a"), (1, "b"), (2, "c")))
    np.testing.assert_array_equal(first.get_fdata(), again.get_fdata())
    assert np.abs(first.get_fdata() - other.get_fdata()).max() > 1


def test_the_noise_changes_the_result(run, no_figure):
    results = [
        run(*options, output=options[0])[0].get_fdata()
        for options in (["--method=dds+iscs"], ["--method=dds+identical"])
    ]
    assert np.abs(results[0] - results[1]).max() > 1


def test_photon_noise_has_a_seed_of_its_own(run, no_figure):
    """The sampler's seed does not change the measurement: FDK depends on nothing else."""
    results = {}
    for name, given in {"a": [], "b": ["--seed=5"], "c": ["--measurement-seed=1"]}.items():
        image, _, record = run("--method=fdk", "--photons=1000", *given, output=name)
        results[name] = image.get_fdata()
        seeds = record["seed"], record["settings"]["measurement_seed"]
        assert seeds == (5 if name == "b" else 0, 1 if name == "c" else 0)
    clean = run("--method=fdk", output="clean")[0].get_fdata()
    np.testing.assert_array_equal(results["a"], results["b"])
    assert np.abs(results["a"] - results["c"]).max() > 1
    assert np.abs(results["a"] - clean).max() > 1


def test_bundles_are_found_by_path(run, bundle, body, tmp_path, monkeypatch, fails):
    (tmp_path / "bundles").symlink_to(bundle.parent)
    monkeypatch.chdir(tmp_path)
    given = ["reconstruct", str(body), "--method", "fdk", "--output", "by_path", "--bundle"]
    assert main([*given, "bundles/tiny"]) == 0
    assert "expected one of body_ct_reconstruction" in fails(*given, "tiny")


def test_baselines_need_no_model(run, bundle, body, tmp_path):
    bare = tmp_path / "bare"
    (bare / "configs").mkdir(parents=True)
    (bare / "configs" / "inference.json").write_text((bundle / "configs" / "inference.json").read_text())
    assert (
        main(["reconstruct", str(body), "--bundle", str(bare), "--method", "sirt", "--output", str(tmp_path / "o")])
        == 0
    )


@pytest.fixture(scope="module")
def patient(tmp_path_factory, phantom):
    """The phantom as a DICOM series."""
    folder = tmp_path_factory.mktemp("dicom") / "patient"
    affine = torch.diag(torch.tensor([-8.0, -8.0, 8.0, 1.0], dtype=torch.float64))
    write_dicom_series(MetaTensor(torch.from_numpy(phantom), affine=affine), folder)
    for file in folder.iterdir():
        header = pydicom.dcmread(file)
        header.PatientName, header.PatientID, header.StudyDate = "Nobody^Else", "ID-4711", "20200101"
        header.save_as(file)
    return folder


def test_a_dicom_series_beside_the_volume(patient, bundle, tmp_path, no_figure, capsys):
    out, given = tmp_path / "out", ["reconstruct", str(patient), "--bundle", str(bundle), "--output"]
    assert main([*given, str(out), "--dicom", "--steps=2"]) == 0
    assert "dicom, metrics.json" in capsys.readouterr().out
    volume, series = (LoadVolume()(out / name) for name in ("reconstruction.nii.gz", "dicom"))
    np.testing.assert_array_equal(series, np.rint(volume))
    np.testing.assert_allclose(series.affine, LoadVolume()(patient).affine, rtol=0, atol=1e-6)
    files = sorted((out / "dicom").iterdir())
    sources = {pydicom.dcmread(file).SOPInstanceUID for file in patient.iterdir()}
    for header in map(pydicom.dcmread, files):
        assert (header.PatientName, header.PatientID, header.StudyDate) == ("Nobody^Else", "ID-4711", "20200101")
        assert {item.ReferencedSOPInstanceUID for item in header.SourceImageSequence} == sources
        made = "recipe default, changed (DDS+ISCS, 2 steps) from a simulated scan"
        assert made in header.DerivationDescription
        assert header.DerivationDescription.endswith("not for diagnosis")
        assert header.SeriesDescription == "DDS+ISCS, not for diagnosis"
    recorded = json.loads((out / "run.json").read_text())["files"]
    assert {f"dicom/{file.name}": sha256(file) for file in files}.items() <= recorded.items()
    assert main([*given, str(out), "--dicom", "--anonymous", "--method=fdk"]) == 0
    assert not [file for file in (out / "dicom").iterdir() if b"ID-4711" in file.read_bytes()]
    assert main([*given, str(out), "--method=fdk"]) == 0  # and an earlier run's series goes with its volume
    assert {file.name for file in out.iterdir()} == FILES


def test_dicom_is_refused_before_the_work(bundle, mri, body, thin, tmp_path, fails, monkeypatch):
    out = tmp_path / "out"
    assert "--anonymous: found without --dicom" in fails(
        "reconstruct", body, "--bundle", bundle, "--output", out, "--anonymous"
    )
    line = fails("reconstruct", thin, "--bundle", mri, "--output", out, "--factor=5", "--method=cubic", "--dicom")
    assert "--dicom: found a bundle whose results are in 'signal / robust maximum', expected one of CT" in line
    monkeypatch.setitem(sys.modules, "pydicom", None)
    line = fails("reconstruct", body, "--bundle", bundle, "--output", out, "--method=fdk", "--dicom")
    assert "pip install 'monai-iscs[dicom]'" in line
    assert not out.exists()
