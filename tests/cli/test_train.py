# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

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
        patch.setattr("monai_iscs.cli.train.tqdm", StoppedBar)
        assert fails(*train, code=130) == "monai-iscs: stopped"
    assert _iterations(output) == 6

    assert "--resume goes on" in fails(*train)
    assert main([*train, "--resume"]) == 0
    assert _iterations(output) == 12
    assert main([*train, "--resume", "--epochs", "3"]) == 0
    assert _iterations(output) == 18
    weights = torch.load(output / "model.pt", weights_only=True)
    ConfigParser(ConfigParser.load_config_file(bundle / "configs" / "inference.json")).get_parsed_content(
        "network_def"
    ).load_state_dict(weights)


def test_resume_without_anything_to_resume(fails, bundle, dataset, tmp_path):
    line = fails("train", "--bundle", bundle, "--dataset", dataset, "--output", tmp_path / "o", "--resume")
    assert f"--resume: found no {tmp_path / 'o' / 'last.pt'}" in line


def test_a_dataset_without_volumes(fails, bundle, tmp_path):
    assert "volumes" in fails("train", "--bundle", bundle, "--dataset", tmp_path, "--output", tmp_path / "o")


def test_a_damaged_checkpoint(fails, train, tmp_path):
    (tmp_path / "prior").mkdir()
    (tmp_path / "prior" / "last.pt").write_bytes(b"half of it")
    assert "last.pt: cannot be read" in fails(*train, "--resume")


def test_initial_weights_of_something_else(fails, train, tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pt")
    assert f"{tmp_path / 'other.pt'}: these weights do not fit" in fails(
        *train, "--initial-weights", tmp_path / "other.pt"
    )
