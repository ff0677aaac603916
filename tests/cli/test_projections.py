# SPDX-License-Identifier: Apache-2.0
"""Projections in, a volume out, through the command."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from importlib import import_module

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_iscs import (
    ConeBeamGeometry,
    ConeBeamProjector,
    MeasuredScan,
    Projections,
    projections_of,
    read_projections,
    write_projections,
)
from monai_iscs.classical.direct import METHODS
from monai_iscs.cli import main
from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.inferers import SliceDiffusionInferer
from monai_iscs.reports import RunRecord
from monai_iscs.scans import field_of_view
from monai_iscs.transforms import LoadProjections, PlaceProjections
from monai_iscs.workflows.bundle import load_network, read_config
from monai_iscs.workflows.fingerprint import fingerprint
from monai_iscs.workflows.pipeline import Pipeline

FILES = {"reconstruction.nii.gz", "preview.png", "seen.nii.gz", "run.json"}


@pytest.fixture(scope="module")
def scan(measuring, body, tmp_path_factory):
    """The phantom's scan as files."""
    file = tmp_path_factory.mktemp("scans") / "scan.mha"
    assert main(["simulate", str(body), "--bundle", str(measuring), "--views", "24", "--output", str(file)]) == 0
    return file


@pytest.fixture
def reconstruct(measuring, scan, tmp_path):
    def run(*options, output="out", file=scan):
        folder = tmp_path / output
        given = ["reconstruct", str(file), "--bundle", str(measuring), "--output", str(folder), *map(str, options)]
        assert main(given) == 0
        assert {path.name for path in folder.iterdir()} == FILES
        return nib.load(folder / "reconstruction.nii.gz"), json.loads((folder / "run.json").read_text())

    return run


def test_the_volume_lies_where_the_body_was(reconstruct, body):
    truth = nib.as_closest_canonical(nib.load(body))
    center = truth.affine[:3] @ [*((n - 1) / 2 for n in truth.shape), 1]
    image, run = reconstruct(
        "--method", "sirt", "--spacing", 8, "--shape", *truth.shape, "--center", *center, "--every", 1
    )
    np.testing.assert_allclose(image.affine, truth.affine, atol=1e-4)
    found, wanted = (np.asarray(volume.dataobj).ravel() for volume in (image, truth))
    assert np.corrcoef(found, wanted)[0, 1] > 0.93
    assert len(run["residual_of_each_view"]) == 24
    assert max(run["residual_of_each_view"]) < 0.1
    assert run["notes"] == []  # nothing of the model's pixels, without a model


def test_beam_hardening_is_corrected(reconstruct):
    """Line integrals that are a tenth larger, of water that attenuates a tenth more, are the same HU."""
    given = ("--method", "fdk", "--spacing", 8)
    plain, _ = reconstruct(*given, "--water", 0.02)
    larger, run = reconstruct(*given, "--water", 0.022, "--beam-hardening", "1.1,0", output="corrected")
    np.testing.assert_allclose(larger.get_fdata(), plain.get_fdata(), atol=0.5)
    assert run["settings"]["beam_hardening"] == [1.1, 0]


def test_the_command_equals_the_library(reconstruct, measuring, scan):
    image, _ = reconstruct("--spacing", 8, "--shape", 32, 32, 12, "--steps", 2)
    loaded = LoadProjections()(scan)
    assert torch.equal(projections_of(loaded).data, read_projections(scan).data)
    placed = PlaceProjections(MeasuredScan(spacing=8.0, shape=(32, 32, 12), unit_attenuation=0.052))(loaded)
    config = read_config(measuring, "inference", {"steps": 2}, over=["measured"])
    inferer: SliceDiffusionInferer = config.get_parsed_content("inferer")
    volume = inferer(placed[None], load_network(config, torch.device("cpu")))
    shown = config.get_parsed_content("restoration")({"pred": volume[0], "image": placed})["pred"]
    np.testing.assert_array_equal(np.asarray(image.dataobj), shown[0].numpy())


def test_reversed_columns_are_noticed(reconstruct, scan, tmp_path):
    right = read_projections(scan)
    write_projections(replace(right, data=right.data.flip(2)), tmp_path / "wrong.mha")
    _, run = reconstruct("--method", "fdk", "--spacing", 8, file=tmp_path / "wrong.mha")
    assert any("are the sense of rotation and the columns' order right?" in note for note in run["notes"])
    _, run = reconstruct("--method", "fdk", "--spacing", 8, output="right")
    assert not any("sense of rotation" in note for note in run["notes"])


def test_an_implausible_attenuation_is_noticed(reconstruct):
    """Denser than bone: metal, or water of another energy; thinner than tissue: per cm or m, not per mm."""
    for water, noticed in ((0.02, []), (0.004, ["metal"]), (0.2, ["hardly anything above"])):
        _, run = reconstruct("--method", "fdk", "--spacing", 8, "--water", water, output=f"water_{water}")
        notes = " ".join(run["notes"])
        assert [word for word in ("metal", "hardly anything above") if word in notes] == noticed
        assert "model" not in notes


def test_lengths_of_another_unit_are_noticed_before_it_is_measured(tiffs, measuring, tmp_path, monkeypatch, capsys):
    """In cm instead of mm everything is ten times as wide, and would take its time."""

    def measured(*_):
        said = capsys.readouterr().out
        assert "mm seen across, expected at most 1,000 mm: is the geometry's unit mm?" in said
        raise InputError("enough: found it, expected it")

    monkeypatch.setattr(Pipeline, "measure", measured)
    given = ["reconstruct", tiffs / "view_*.tif", "--bundle", measuring, "--output", tmp_path / "out"]
    given += ["--geometry", tiffs / "views.geom", "--unit", "cm", "--air", 50_000, "--method", "fdk"]
    assert main(list(map(str, given))) == 2


def test_a_volume_beside_what_is_seen_is_noticed(reconstruct, scan):
    middle = field_of_view(read_projections(scan).in_patient())
    x, y, z = *middle.axis, middle.heights[1]
    given = ("--method", "fdk", "--spacing", 8, "--shape", 16, 16, 8, "--center", x, y)
    _, run = reconstruct(*given, z + 20)
    assert any("found only" in note and "shape and center right?" in note for note in run["notes"])
    _, run = reconstruct(*given, sum(middle.heights) / 2, output="inside")
    assert run["notes"] == []


def test_another_geometry_is_another_run(measuring, scan, tmp_path):
    """A checkpoint is not gone on with when the geometry beside the same images has changed."""
    pipeline = Pipeline(measuring, network=False, overrides={"spacing": 8.0}, over=["measured"])
    identities = []
    for shift in (0.0, 5.0):
        file = tmp_path / "scan.mha"
        right = read_projections(scan)
        moved = replace(right.geometry, detector=right.geometry.detector + np.array([0, 0, shift]))
        write_projections(replace(right, geometry=moved), file)
        images = file.read_bytes()
        measured = pipeline.measure(pipeline.load(file))
        record = RunRecord({}, seed=0, device=torch.device("cpu"))
        identities.append(pipeline.identity(record, file, measured, pipeline.sampler()))
        assert identities[-1]["input"] == hashlib.sha256(images).hexdigest()
    assert identities[0]["measurement"] != identities[1]["measurement"]


def test_the_geometry_s_file_may_be_given(reconstruct, scan, tmp_path):
    shutil.copy(scan, tmp_path / "images.mha")
    given = ["--geometry", scan.with_suffix(".xml"), "--method", "fdk", "--spacing", 8]
    image, run = reconstruct(*given, file=tmp_path / "images.mha")
    beside, _ = reconstruct("--method", "fdk", "--spacing", 8, output="beside")
    np.testing.assert_array_equal(np.asarray(image.dataobj), np.asarray(beside.dataobj))
    assert run["settings"]["geometry"] == str(scan.with_suffix(".xml"))


@pytest.fixture(scope="module")
def helix(body, tmp_path_factory):
    """The phantom from two turns about its z axis, as RTK's files."""
    image = nib.as_closest_canonical(nib.load(body))
    grid = Grid(image.shape, image.affine)
    angles = np.linspace(-2, 2, 40) * np.pi
    circle = ConeBeamGeometry.circular(
        source_to_isocenter=600,
        source_to_detector=1000,
        angles=angles,
        detector_shape=(12, 48),
        detector_pitch=(12, 12),
        center=grid.center,
    )
    up = 55 * angles[:, None] / (2 * np.pi) * [0, 0, 1]
    geometry = replace(circle, source=circle.source + up, detector=circle.detector + up)
    attenuation = 0.02 * (1 + torch.from_numpy(image.get_fdata(dtype=np.float32).copy()) / 1000)
    data = ConeBeamProjector(geometry, grid)(attenuation)
    file = tmp_path_factory.mktemp("helix") / "helix.mha"
    return write_projections(Projections(data=data, geometry=geometry), file), image


def test_a_helix_is_reconstructed_and_shown_beside_its_first_image(reconstruct, helix, monkeypatch):
    file, truth = helix
    rows = [
        float(line.split(">")[1].split("<")[0])
        for line in file.with_suffix(".xml").read_text().splitlines()
        if "SourceOffsetY" in line
    ]
    assert np.diff(rows) == pytest.approx(np.full(39, 110 / 39))
    module, titles = import_module("monai_iscs.workflows.one_input"), []
    draw = module.three_view_figure
    monkeypatch.setattr(
        module,
        "three_view_figure",
        lambda volumes, *rest, **more: (titles.extend(volumes), draw(volumes, *rest, **more)),
    )
    center = truth.affine[:3] @ [*((n - 1) / 2 for n in truth.shape), 1]
    image, run = reconstruct("--spacing", 8, "--shape", *truth.shape, "--center", *center, "--steps", 2, file=file)
    assert titles == ["HELICAL-FBP", "DDS+ISCS"]
    np.testing.assert_allclose(image.affine, truth.affine, atol=1e-4)
    found, wanted = (np.asarray(volume.dataobj).ravel() for volume in (image, truth))
    assert np.corrcoef(found, wanted)[0, 1] > 0.9
    assert max(run["residual_of_each_view"]) < 0.1


def test_fdk_of_a_helix_is_refused(fails, helix, measuring, tmp_path):
    given = ["reconstruct", helix[0], "--bundle", measuring, "--output", tmp_path / "out", "--method", "fdk"]
    said = fails(*given, "--spacing", 8)
    assert "fdk: found a source that moves 110.0 mm along z, between views 0 and 39, " in said
    assert "expected a circle or an arc" in said


def test_a_helix_shows_all_that_it_sees_from_all_sides(reconstruct, helix):
    """Half a turn and the fan are 32.4 mm of travel, half a detector 43.2 mm: 55 + 43.2 - 32.4 mm on either side."""
    image, _ = reconstruct("--method", "sirt", "--spacing", 8, file=helix[0])
    assert image.shape[2] == np.ceil(2 * 65.8 / 8)


def test_a_helix_by_filtered_backprojection_is_computed_once(reconstruct, helix, monkeypatch):
    """As the first image, the result and the preview."""
    calls, method = [], METHODS["helical-fbp"]
    monkeypatch.setitem(METHODS, "helical-fbp", lambda given: calls.append(given) or method(given))
    file, truth = helix
    center = truth.affine[:3] @ [*((n - 1) / 2 for n in truth.shape), 1]
    given = ["--spacing", 8, "--shape", *truth.shape, "--center", *center]
    image, run = reconstruct("--method", "helical-fbp", *given, file=file)
    found, wanted = (np.asarray(volume.dataobj).ravel() for volume in (image, truth))
    assert np.corrcoef(found, wanted)[0, 1] > 0.9
    assert run["settings"]["method"] == "HELICAL-FBP"
    assert len(calls) == 1


def test_an_arc_by_helical_filtered_backprojection_is_refused_before_it_is_measured(
    fails, helix, measuring, tmp_path, monkeypatch
):
    monkeypatch.setattr(Pipeline, "measure", lambda *_: pytest.fail("measured first"))
    scan = read_projections(helix[0])
    file = write_projections(replace(scan, data=scan.data[:9], geometry=scan.geometry.part(0, 9)), tmp_path / "arc.mha")
    line = fails("reconstruct", file, "--bundle", measuring, "--output", tmp_path / "out", "--method", "helical-fbp")
    assert f"{file}: helical_fbp: found 0.46 turns, expected a turn or more" in line


def test_fdk_of_a_helix_is_refused_before_it_is_measured(fails, helix, measuring, tmp_path, monkeypatch):
    monkeypatch.setattr(Pipeline, "measure", lambda *_: pytest.fail("measured first"))
    line = fails(
        "reconstruct", helix[0], "--bundle", measuring, "--output", tmp_path / "out", "--method", "fdk", "--spacing", 8
    )
    assert f"{helix[0]}: fdk: found a source that moves" in line


def test_views_in_another_order_are_noticed(reconstruct, scan, tmp_path):
    right = read_projections(scan)
    order = np.random.default_rng(0).permutation(24)
    wrong = {"order": order, "view 5": np.r_[0:5, 13, 6:24]}
    for said, views in wrong.items():
        file = tmp_path / f"{len(set(views))}.mha"
        write_projections(replace(right, data=right.data[views]), file)
        _, run = reconstruct("--method", "fdk", "--spacing", 8, file=file, output=said)
        assert len(run["notes"]) == 1
        assert said in run["notes"][0]


def test_notes_are_said_before_the_long_part(reconstruct, capsys, monkeypatch):
    baseline = Pipeline.baseline

    def late(*arguments):
        assert "note: found hardly anything above" in capsys.readouterr().out
        monkeypatch.setattr(Pipeline, "baseline", baseline)
        return baseline(*arguments)

    monkeypatch.setattr(Pipeline, "baseline", late)
    reconstruct("--method", "fdk", "--spacing", 8, "--water", 0.2)


@pytest.fixture
def tiffs(scan, tmp_path):
    """The scan as counts, a file a view, and its vectors."""
    tifffile = pytest.importorskip("tifffile")
    projections = read_projections(scan)
    folder = tmp_path / "files"
    folder.mkdir()
    for view, integrals in enumerate(projections.data.numpy()):
        counts = np.round(50_000 * np.exp(-integrals)).astype(np.uint16)
        tifffile.imwrite(folder / f"view_{view:02d}.tif", counts)
    for name in "01":
        tifffile.imwrite(folder / f"open_{name}.tif", np.full(projections.data.shape[1:], 50_000, np.uint16))
    geometry = projections.in_patient().geometry
    np.savetxt(folder / "views.geom", np.hstack([getattr(geometry, name) for name in ("source", "detector", "u", "v")]))
    return folder


def test_patterns_of_files(reconstruct, tiffs):
    given = ("--geometry", tiffs / "views.geom", "--unit", "mm", "--flat", tiffs / "open_*.tif")
    options = ("--method", "fdk", "--spacing", 8, "--shape", 32, 32, 8)
    image, run = reconstruct(*given, *options, file=tiffs / "view_*.tif")
    right, _ = reconstruct(*options, output="right")
    np.testing.assert_allclose(image.get_fdata(), right.get_fdata(), atol=60)  # one count of 50 behind a body
    assert run["settings"]["flat"].endswith("open_*.tif")


def test_a_pattern_has_the_fingerprint_of_its_files(tiffs):
    """Which says whether an interrupted run may be gone on with."""
    pattern = tiffs / "view_*.tif"
    first = fingerprint(pattern)
    (tiffs / "notes.txt").write_text("not one of them")
    assert fingerprint(pattern) == first
    (tiffs / "view_05.tif").write_bytes((tiffs / "view_06.tif").read_bytes())
    assert fingerprint(pattern) != first


def test_a_sampler_takes_a_pattern(reconstruct, tiffs):
    options = ("--air", 50_000, "--spacing", 8, "--shape", 32, 32, 8, "--steps", 2)
    _, run = reconstruct("--geometry", tiffs / "views.geom", "--unit", "mm", *options, file=tiffs / "view_*.tif")
    assert max(run["residual_of_each_view"]) < 0.2


def test_images_without_their_geometry(fails, tiffs, scan, measuring, tmp_path):
    (tmp_path / "pixels.raw").write_bytes(bytes(100))
    np.savez(tmp_path / "scan.npz", np.zeros(3))
    np.save(tmp_path / "scan.npy", np.zeros((3, 4, 5)))
    shutil.copy(scan, tmp_path / "alone.mha")
    for name, said in {
        tiffs: "found images (.tif) without a geometry, expected one: .xml, ",
        tiffs / "view_*.tif": "found images (.tif) without a geometry",
        tmp_path
        / "pixels.raw": "found pixels alone, expected the file that describes them: .mhd, or CTSimU's metadata",
        tmp_path / "scan.npz": "found .npz, expected projections as .npy",
        tmp_path / "scan.npy": "found images (.npy) without a geometry",
        tmp_path / "alone.mha": "line integrals without their geometry?",
        tmp_path / "no_*.tif": "expected a pattern that files fit",
    }.items():
        line = fails("reconstruct", name, "--bundle", measuring, "--output", tmp_path / "out")
        assert said in line
        assert str(name) in line


def test_each_second_view(reconstruct):
    _, run = reconstruct("--method", "fdk", "--every", 2, "--spacing", 8)
    assert len(run["residual_of_each_view"]) == 12


def test_the_bundle_runs_a_folder_of_projections(measuring, scan, tmp_path):
    from monai.bundle import run

    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("a", "b"):
        shutil.copy(scan, folder / f"{name}.mha")
        shutil.copy(scan.with_suffix(".xml"), folder / f"{name}.xml")
    configs = [str(measuring / "configs" / f"{name}.json") for name in ("inference", "measured")]
    run(
        run_id="run",
        init_id="initialize",
        config_file=configs,
        bundle_root=str(measuring),
        dataset_dir=str(folder),
        output_dir=str(tmp_path / "results"),
        **{"steps": 2, "spacing": 8.0, "shape": [32, 32, 12], "seed": 0},
    )
    written = sorted((tmp_path / "results").rglob("*.nii.gz"))
    assert len(written) == 2
    np.testing.assert_array_equal(*(np.asarray(nib.load(file).dataobj) for file in written))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--views", 5], "--views: found with projections"),
        (["--photons", 100], "--photons: found with projections"),
        (["--same-grid"], "--same-grid: found with projections"),
        (["--every", 24], "every: found 24 with 24 views"),
        (["--center", 5000, 0, 0, "--shape", 8, 8, 8], "expected it to overlap what the rays meet"),
        (["--spacing", 0.01], "of memory"),
        (["--air", 1000], "air"),
        (["--water", 0], "--water"),
        (["--position", "XYZ"], "--position"),
        (["--beam-hardening", "1,soft"], "--beam-hardening: found '1,soft', expected C1,C2,...: numbers with commas"),
        (["--beam-hardening", "1,-1e+0"], "beam_hardening: found a polynomial that turns at"),
        (["--beam-hardening", "50"], "beam_hardening: found a polynomial that makes"),
    ],
)
def test_what_does_not_fit_real_projections(options, said, fails, scan, measuring, tmp_path):
    given = ["reconstruct", str(scan), "--bundle", str(measuring), "--output", str(tmp_path / "out"), "--method", "fdk"]
    assert said in fails(*given, *map(str, options))
    assert not (tmp_path / "out" / "run.json").exists()


@pytest.mark.parametrize("option", ["--every", "--air", "--water", "--beam-hardening"])
def test_a_volume_takes_no_options_of_projections(option, fails, body, measuring, tmp_path):
    line = fails("reconstruct", str(body), "--bundle", str(measuring), "--output", str(tmp_path / "out"), option, "2")
    assert f"{option}: found with a volume" in line


def test_a_bundle_without_measured_json(fails, scan, mri, tmp_path):
    line = fails("reconstruct", str(scan), "--bundle", str(mri), "--output", str(tmp_path / "out"))
    assert "measured.json: found no such file" in line


def test_simulate_wants_the_name_of_a_stack(fails, body, measuring, tmp_path):
    line = fails("simulate", str(body), "--bundle", str(measuring), "--output", str(tmp_path / "scan.nii"))
    assert "expected the name of a file that ends in .mha" in line
