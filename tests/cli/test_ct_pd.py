# SPDX-License-Identifier: Apache-2.0
"""DICOM-CT-PD through the command: simulated, read back, reconstructed the right way up, and refused when it is bad."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_iscs import ConeBeamScan, read_projections
from monai_iscs.cli import main
from monai_iscs.grid import Grid
from monai_iscs.workflows.bundle import find_bundle

pydicom = pytest.importorskip("pydicom")

CENTER = np.array([12.0, -20.0, 330.0])  # mm, of the volume; the scanner's axis goes through it
HELIX = ("--table-feed", "50")


@pytest.fixture(scope="module")
def clinical(bundle, tmp_path_factory):
    """The small bundle, for real projections, too."""
    folder = shutil.copytree(bundle, tmp_path_factory.mktemp("clinical") / "tiny")
    shipped = find_bundle("body_ct_reconstruction") / "configs"
    config = json.loads((shipped / "measured.json").read_text())
    config["ckpt_path"] = "$@bundle_root + '/models/model.pt'"
    (folder / "configs" / "measured.json").write_text(json.dumps(config))
    (folder / "configs" / "metadata.json").write_text((shipped / "metadata.json").read_text())
    return folder


@pytest.fixture(scope="module")
def crooked(save_volume, tmp_path_factory):
    """A body that looks like none of its mirror images, 30 x 26 x 16 voxels of 8 mm."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (30, 26, 16)), indexing="ij")
    volume = np.full(x.shape, -1000.0)
    volume[(x / 0.8) ** 2 + (y / 0.75) ** 2 < 1] = 0
    volume[((x - 0.35) / 0.25) ** 2 + ((y - 0.2) / 0.3) ** 2 + ((z - 0.4) / 0.5) ** 2 < 1] = -900
    volume[((x + 0.3) / 0.2) ** 2 + ((y + 0.35) / 0.2) ** 2 + ((z + 0.3) / 0.4) ** 2 < 1] = 1000
    affine = np.diag([8.0, 8.0, 8.0, 1.0])
    affine[:3, 3] = CENTER - 4 * (np.array(volume.shape) - 1)
    return save_volume(tmp_path_factory.mktemp("crooked") / "crooked.nii.gz", volume.astype(np.float32), affine)


@pytest.fixture(scope="module")
def simulate(clinical, crooked, tmp_path_factory):
    def run(*options, name="scan", volume=crooked):
        output = tmp_path_factory.mktemp("simulated") / name
        given = ["simulate", str(volume), "--bundle", str(clinical), "--output", str(output), *map(str, options)]
        assert main(given) == 0
        return output

    return run


@pytest.fixture(scope="module")
def helix(simulate):
    return simulate("--views", 24, *HELIX, "--photons", 2e5)


@pytest.fixture(scope="module")
def circle(simulate):
    return simulate("--views", 40, "--photons", "none")


def test_a_helix_is_read_back_as_it_was_simulated(helix, crooked):
    image = nib.load(crooked)
    grid = Grid(image.shape, image.affine)
    expected = ConeBeamScan(size=32, views=24, table_feed=50.0).geometry(grid.fitted(32)).moved([*-CENTER[:2], 0])
    found = read_projections(helix)
    theirs = found.in_patient().geometry
    assert theirs.views == np.ceil((16 * 8 / 50 + 1) * 24)
    assert theirs.source == pytest.approx(expected.source, abs=1e-3)
    edges = np.array([-31.5, 31.5])
    assert np.sort(theirs.column_places(edges), 1) == pytest.approx(np.sort(expected.column_places(edges), 1), abs=1e-3)
    assert (found.position, found.water) == ("HFS", pytest.approx(0.02))
    first = pydicom.dcmread(sorted(helix.iterdir())[0])
    assert first[0x7033, 0x1013].value == 24
    assert first[0x7033, 0x1065].value == [2e5] * 64
    assert read_projections(helix, turns=(1, 2)).geometry.views == 24


@pytest.mark.parametrize("options", [("--views", 9), ("--views", 9, "--arc", 200), ("--views", 7, *HELIX)])
def test_the_folder_has_the_numbers_of_the_stack(simulate, options):
    """Rows fall in one, rise in the other; 16 bits round by half a step."""
    stack = read_projections(simulate(*options, name="scan.mha"))
    folder = read_projections(simulate(*options))
    step = float(stack.data.max() - stack.data.min()) / 65535
    assert folder.data.flip(1).numpy() == pytest.approx(stack.data.numpy(), abs=0.51 * step)


@pytest.mark.parametrize("scan", ["circle", "helix"])
def test_the_volume_is_the_right_way_up(scan, request, clinical, crooked, tmp_path):
    """Each mirrored axis, and one that is turned by half a turn, fits far worse."""
    truth = nib.load(crooked)
    given = ["reconstruct", request.getfixturevalue(scan), "--bundle", clinical, "--output", tmp_path / "out"]
    given += ["--method", "sirt", "--spacing", 8, "--shape", *truth.shape, "--center", 0, 0, CENTER[2]]
    assert main(list(map(str, given))) == 0
    image = nib.load(tmp_path / "out" / "reconstruction.nii.gz")
    at_axis = truth.affine.copy()
    at_axis[:2, 3] -= CENTER[:2]
    assert image.affine == pytest.approx(at_axis, abs=1e-3)
    found, wanted = image.get_fdata(), truth.get_fdata()
    inside = wanted > -1000  # an upright cylinder, which mirrors do not change
    fits = {
        mirrored: np.corrcoef(np.flip(found, mirrored)[inside], wanted[inside])[0, 1]
        for n in range(4)
        for mirrored in itertools.combinations(range(3), n)
    }
    right = fits.pop(())
    assert right > 0.7
    assert max(fits.values()) < 0.3
    assert np.median(found[wanted == 0]) == pytest.approx(0, abs=20)


def test_a_helix_in_one_command(clinical, crooked, tmp_path):
    given = ["reconstruct", crooked, "--bundle", clinical, "--output", tmp_path / "out", "--method", "sirt", *HELIX]
    assert main(list(map(str, given))) == 0
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["settings"]["table_feed"] == 50
    found, wanted = (nib.load(file).get_fdata() for file in (tmp_path / "out" / "reconstruction.nii.gz", crooked))
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.9


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((*HELIX, "--arc", "200"), "arc: found 200 degrees with a table_feed, expected 360"),
        (("--table-feed", "2"), "table_feed: found 2 mm, expected 9.96 to 597.3 mm"),
        (("--views", "3", "--output", "scan.nii"), "expected the name of a file that ends in .mha, or of a folder"),
        (("--views", "3", "--output", "there"), "there: found a file or folder there already, expected none"),
    ],
)
def test_what_cannot_be_simulated(fails, options, said, clinical, crooked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    line = fails("simulate", crooked, "--bundle", clinical, "--output", "scan", *options)
    assert said in line
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
