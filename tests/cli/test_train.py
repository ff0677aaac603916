# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from tqdm import tqdm

from monai_iscs.cli import main


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, save_volume, phantom):
    folder = tmp_path_factory.mktemp("dataset")
    for name in ("train", "val"):
        (folder / name).mkdir()
        save_volume(folder / name / "body.nii.gz", phantom)
    return folder


@pytest.fixture
def train(bundle, dataset, tmp_path):
    return ["train", "--bundle", str(bundle), "--dataset", str(dataset), "--output", str(tmp_path / "prior")]


class StoppedBar(tqdm):
    """Ctrl-C in the second epoch of six steps each."""

    def update(self, n=1):
        super().update(n)
        if self.n == 8:
            raise KeyboardInterrupt


def _iterations(folder):
    return torch.load(folder / "last.pt", weights_only=True)["trainer"]["iteration"]


def test_a_stopped_training_goes_on_from_its_last_complete_epoch(fails, train, bundle, tmp_path, monkeypatch):
    output = tmp_path / "prior"
    with monkeypatch.context() as patch:
        patch.setattr("monai_iscs.workflows.training.tqdm", StoppedBar)
        assert fails(*train, code=130) == "monai-iscs: stopped"
    assert _iterations(output) == 6

    assert "expected --resume to go on" in fails(*train)
    assert main([*train, "--resume"]) == 0
    assert _iterations(output) == 12
    assert main([*train, "--resume", "--epochs", "3"]) == 0
    assert _iterations(output) == 18
    weights = torch.load(output / "model.pt", weights_only=True)
    ConfigParser(ConfigParser.load_config_file(bundle / "configs" / "inference.json")).get_parsed_content(
        "network_def"
    ).load_state_dict(weights)


def test_a_seeded_training_in_the_home_folder(bundle, dataset, tmp_path, monkeypatch, capsys):
    """The tilde means the home folder in all paths; the terminal shows the validation."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    weights = []
    for name in ("prior", "again"):
        command = ["train", "--bundle", str(bundle), "--dataset", str(dataset), "--output", f"~/{name}"]
        assert main([*command, "--epochs", "1"]) == 0
        assert re.search(r"validation -?\d+\.\d\d dB", capsys.readouterr().err)
        weights.append(torch.load(tmp_path / name / "model.pt", weights_only=True))
    assert {path.name for path in tmp_path.iterdir()} == {"prior", "again"}
    torch.testing.assert_close(*weights, atol=0, rtol=0)


def _truncated(path, volume, save):
    noise = np.random.default_rng(0).normal(0, 20, volume.shape).astype(np.float32)
    whole = save(path, volume + noise).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_truncated, "truncated or damaged"),
        (lambda path, v, save: save(path, v[..., 0]), "expected one 3D volume"),
        (lambda path, v, save: save(path, np.where(v == 700, np.nan, v)), "NaN or infinite voxels"),
        (lambda path, v, save: save(path, (v + 1000) / 1700), "are not HU"),
    ],
    ids=["truncated", "2D", "NaN", "not HU"],
)
def test_an_unusable_volume_is_named(fails, bundle, dataset, phantom, save_volume, tmp_path, spoil, message):
    mixed = shutil.copytree(dataset, tmp_path / "mixed")
    file = mixed / "train" / "spoilt.nii.gz"
    spoil(file, phantom, save_volume)
    line = fails("train", "--bundle", bundle, "--dataset", mixed, "--output", tmp_path / "o")
    assert f"{file}: " in line
    assert message in line


def test_resume_without_anything_to_resume(fails, bundle, dataset, tmp_path):
    line = fails("train", "--bundle", bundle, "--dataset", dataset, "--output", tmp_path / "o", "--resume")
    assert f"--resume: found no {tmp_path / 'o' / 'last.pt'}" in line


def test_a_dataset_without_volumes(fails, bundle, tmp_path):
    assert "volumes" in fails("train", "--bundle", bundle, "--dataset", tmp_path, "--output", tmp_path / "o")


def test_a_damaged_checkpoint(fails, train, tmp_path):
    (tmp_path / "prior").mkdir()
    (tmp_path / "prior" / "last.pt").write_bytes(b"half of it")
    assert "last.pt: found a damaged or another file, expected" in fails(*train, "--resume")


def test_initial_weights_of_something_else(fails, train, tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pt")
    assert f"{tmp_path / 'other.pt'}: found weights that do not fit" in fails(
        *train, "--initial-weights", tmp_path / "other.pt"
    )


def test_weights_of_the_user_stay(fails, train, tmp_path):
    output = tmp_path / "prior"
    output.mkdir()
    (output / "model.pt").write_text("mine")
    assert f"{output / 'model.pt'}: found weights of something else" in fails(*train)
    (tmp_path / "link.pt").symlink_to(output / "model.pt")
    (output / "last.pt").write_bytes(b"")
    line = fails(*train, "--initial-weights", tmp_path / "link.pt")
    assert f"{output}: found an earlier training" in line
    torch.save({"trainer": {"max_epochs": 2}}, output / "last.pt")
    line = fails(*train, "--resume", "--initial-weights", tmp_path / "link.pt")
    assert f"--initial-weights: found {tmp_path / 'link.pt'}, which this training overwrites" in line
    assert (output / "model.pt").read_text() == "mine"


def test_a_training_that_diverges_ends_with_an_error(fails, train, bundle, tmp_path):
    steep = shutil.copytree(bundle, tmp_path / "steep")
    config = json.loads((steep / "configs" / "train.json").read_text())
    (steep / "configs" / "train.json").write_text(json.dumps({**config, "learning_rate": 1e30, "warmup_steps": 1}))
    line = fails(*[str(steep) if argument == str(bundle) else argument for argument in train])
    assert "the training has diverged (a lower learning rate may help)" in line
    assert not list((tmp_path / "prior").glob("*.pt"))


def test_a_disk_that_fills_up_keeps_the_last_good_epoch(fails, train, tmp_path, small_disk):
    disk = small_disk(megabytes=2, files=50)
    train = [str(disk / "prior") if argument == str(tmp_path / "prior") else argument for argument in train]
    assert main([*train, "--epochs", "1"]) == 0
    before = {file: file.read_bytes() for file in (disk / "prior").glob("*.pt")}
    (disk / "other").write_bytes(b"\0" * (shutil.disk_usage(disk).free - 16384))
    line = fails(*train, "--resume", "--epochs", "2")
    assert f"{disk / 'prior'}: found 0 MB free on the disk" in line
    assert {file: file.read_bytes() for file in (disk / "prior").glob("*.pt")} == before
