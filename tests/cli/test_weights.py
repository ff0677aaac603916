# SPDX-License-Identifier: Apache-2.0
"""Weights belong to their bundle, though another has the same network; and `--spacing` reaches a bundle."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from monai_iscs.cli.bundle import load_network, read_config
from monai_iscs.cli.parser import build_parser
from monai_iscs.errors import InputError

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
CT, MRI = "body_ct_reconstruction", "brain_mri_super_resolution"


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
        with pytest.raises(InputError, match=f"model.pt: holds the weights of the bundle {other}, expected .* {name}"):
            load_network(read_config(folder, "inference", {}), torch.device("cpu"))


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
