# SPDX-License-Identifier: Apache-2.0
"""Weights belong to their bundle, although another has the same network; and `--spacing` reaches a bundle."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine

from monai_iscs.cli.parser import build_parser
from monai_iscs.errors import InputError
from monai_iscs.workflows.bundle import load_network, read_config

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
CT, MRI = "body_ct_reconstruction", "brain_mri_super_resolution"


NO_CONFIGS = ("metadata", "evaluate", "calibration")


def configs(name):
    """A bundle's configs that the command line reads."""
    return [file for file in (BUNDLES / name / "configs").glob("*.json") if file.stem not in NO_CONFIGS]


@pytest.mark.parametrize("name", [CT, MRI])
def test_the_metadata_knows_the_weights(name):
    digest = hashlib.sha256((BUNDLES / name / "models" / "model.pt").read_bytes()).hexdigest()
    assert json.loads((BUNDLES / name / "configs" / "metadata.json").read_text())["weights_sha256"] == digest


def test_the_weights_of_the_other_bundle(tmp_path):
    for name, other in ((CT, MRI), (MRI, CT)):
        folder = tmp_path / name
        shutil.copytree(BUNDLES / name / "configs", folder / "configs")
        (folder / "models").mkdir()
        shutil.copy(BUNDLES / name / "models" / "model.pt", folder / "models")
        load_network(read_config(folder, "inference", {}), torch.device("cpu"))
        shutil.copy(BUNDLES / other / "models" / "model.pt", folder / "models")
        with pytest.raises(
            InputError, match=rf"model\.pt: found the .* weights of the bundle {other}, expected .* {name}"
        ):
            load_network(read_config(folder, "inference", {}), torch.device("cpu"))


def test_a_copy_of_a_bundle_keeps_its_weights(tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(BUNDLES / CT, folder)
    metadata = folder / "configs" / "metadata.json"
    entries = json.loads(metadata.read_text())
    del entries["weights_sha256"]
    metadata.write_text(json.dumps(entries))
    load_network(read_config(folder, "inference", {}), torch.device("cpu"))


def test_a_training_from_the_weights_of_the_other_bundle(fails, tmp_path):
    for name in ("train", "val"):
        (tmp_path / "data" / name).mkdir(parents=True)
    weights = BUNDLES / MRI / "models" / "model.pt"
    arguments = ["--dataset", tmp_path / "data", "--output", tmp_path / "out", "--initial-weights", weights]
    line = fails("train", "--bundle", CT, *arguments)
    assert f"{weights}: found the MR weights of the bundle {MRI}" in line


@pytest.mark.parametrize("name", [CT, MRI])
def test_under_monai_the_weights_are_checked_too(name, tmp_path):
    weights = bytearray((BUNDLES / name / "models" / "model.pt").read_bytes())
    weights[len(weights) // 2] ^= 64
    (tmp_path / "model.pt").write_bytes(weights)
    config = read_config(BUNDLES / name, "inference", {"ckpt_path": str(tmp_path / "model.pt")})
    (loader,) = config.get_parsed_content("handlers")
    engine = Engine(lambda *_: None)
    loader.attach(engine)
    with pytest.raises(InputError, match=r"model\.pt: found a wrong checksum"):
        engine.run([0])


@pytest.mark.parametrize(("name", "config"), [(name, file.stem) for name in (CT, MRI) for file in configs(name)])
def test_every_config_of_ours_keeps_the_contract(name, config):
    kind = "train" if "train" in config else "inference"
    read_config(BUNDLES / name, kind, {}, over=[] if config == kind else [config])


@pytest.mark.parametrize(("given", "expected"), [(["2"], 2.0), (["2", "2.5", "3"], [2.0, 2.5, 3.0])])
def test_spacing(given, expected, tmp_path):
    (tmp_path / "ct.nii.gz").touch()
    command = ["reconstruct", str(tmp_path / "ct.nii.gz"), "--bundle", str(BUNDLES / CT), "--output", "out"]
    spacing = build_parser().parse_args([*command, "--spacing", *given]).spacing
    assert spacing == expected
    config = read_config(BUNDLES / CT, "inference", {"spacing": spacing})
    resample = config.get_parsed_content("preprocessing").transforms[3]
    torch.testing.assert_close(list(resample.spacing_transform.pixdim), [*([2.0] * 3 if len(given) == 1 else expected)])
    with pytest.raises(InputError, match="--spacing: found 2 numbers, expected one or three"):
        build_parser().parse_args([*command, "--spacing", "2", "3"])
