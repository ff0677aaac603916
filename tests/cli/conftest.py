# SPDX-License-Identifier: Apache-2.0
"""A bundle so small that a run takes seconds, and a phantom to run it on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from monai_iscs.cli import main

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
SMALL = {
    "network_def::network::network::channels": [8, 8],
    "network_def::network::network::num_res_blocks": 1,
    "network_def::network::network::attention_levels": [False, False],
    "network_def::network::network::norm_num_groups": 4,
    "network_def::network::network::num_head_channels": 4,
}


def _write_config(shipped: Path, folder: Path, kind: str, changes: dict[str, object]) -> ConfigParser:
    """A shipped bundle's config with some entries changed."""
    parser = ConfigParser(ConfigParser.load_config_file(shipped / "configs" / f"{kind}.json"))
    for key, value in changes.items():
        if key.split("::")[0] in parser:
            parser[key] = value
    (folder / "configs" / f"{kind}.json").write_text(json.dumps(parser.get()))
    return parser


@pytest.fixture(scope="session")
def shrink_bundle() -> Callable[..., Path]:
    """``shrink_bundle(shipped, folder, changes)``: a copy with a network of a few thousand weights, never trained."""

    def shrink(shipped: Path, folder: Path, changes: dict[str, object]) -> Path:
        (folder / "configs").mkdir(parents=True)
        (folder / "models").mkdir()
        (folder / "configs" / "metadata.json").write_text('{"version": "0.0.1"}')
        training = {"crop": 16, "epochs": 2, "batch_size": 2, "validate_every": 4}
        _write_config(shipped, folder, "train", {**SMALL, **changes, **training})
        config = _write_config(shipped, folder, "inference", {**SMALL, **changes})
        torch.manual_seed(0)
        network = config.get_parsed_content("network_def")
        torch.save({name: value.half() for name, value in network.state_dict().items()}, folder / "models" / "model.pt")
        return folder

    return shrink


@pytest.fixture(scope="session")
def bundle(tmp_path_factory, shrink_bundle) -> Path:
    """The shipped CT bundle, small; treat as read-only."""
    changes = {"size": 32, "views": 6, "steps": 3}
    return shrink_bundle(BUNDLES / "body_ct_reconstruction", tmp_path_factory.mktemp("bundles") / "tiny", changes)


@pytest.fixture(scope="session")
def phantom() -> np.ndarray:
    """A body of water with two bones and a lung, (36, 32, 12) voxels, in HU; treat as read-only."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (36, 32, 12)), indexing="ij")
    volume = np.full(x.shape, -1000.0)
    volume[(x / 0.8) ** 2 + (y / 0.7) ** 2 < 1] = 30
    volume[((x - 0.3) / 0.2) ** 2 + (y / 0.3) ** 2 + (z / 0.9) ** 2 < 1] = -850
    volume[((x + 0.4) / 0.12) ** 2 + (y / 0.12) ** 2 < 1] = 700
    return volume.astype(np.float32)


@pytest.fixture(scope="session")
def save_volume() -> Callable[..., Path]:
    """``save_volume(path, array, affine)``: 8 mm voxels and left, anterior, superior axes unless an affine is given."""

    def save(path: Path, volume: np.ndarray, affine: np.ndarray | None = None) -> Path:
        image = nib.Nifti1Image(volume, np.diag([-8.0, 8.0, 8.0, 1.0]) if affine is None else affine)
        nib.save(image, path)
        return path

    return save


@pytest.fixture(scope="session")
def body(tmp_path_factory, save_volume, phantom) -> Path:
    """The phantom as a file; treat as read-only."""
    return save_volume(tmp_path_factory.mktemp("data") / "body.nii.gz", phantom)


@pytest.fixture(scope="session")
def mri(tmp_path_factory, shrink_bundle) -> Path:
    """The shipped bundle with a network of a few thousand weights, never trained; treat as read-only."""
    return shrink_bundle(
        BUNDLES / "brain_mri_super_resolution", tmp_path_factory.mktemp("mri_bundles") / "tiny_mri", {"steps": 3}
    )


@pytest.fixture(scope="session")
def brain() -> np.ndarray:
    """A smooth skull-stripped "brain" of arbitrary signal; treat as read-only."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (30, 34, 22)), indexing="ij")
    inside = ((x - 0.1) / 0.6) ** 2 + (y / 0.7) ** 2 + ((z - 0.05) / 0.75) ** 2 < 1
    return np.where(inside, 900 + 250 * np.sin(3 * x + 4 * z) + 100 * y, 0).astype(np.float32)


@pytest.fixture(scope="session")
def affine() -> np.ndarray:
    """Left, anterior, superior, 1 mm, off centre."""
    return np.array([[-1.0, 0, 0, 16], [0, 1, 0, -21], [0, 0, 1, 7], [0, 0, 0, 1]])


@pytest.fixture(scope="session")
def thin(tmp_path_factory, save_volume, brain, affine) -> Path:
    """The brain as a file; treat as read-only."""
    return save_volume(tmp_path_factory.mktemp("thin") / "thin.nii.gz", brain, affine)


@pytest.fixture
def fails(capsys) -> Callable[..., str]:
    """Runs the command line, which must fail in one line, and gives that line."""

    def run(*arguments: object, code: int = 2) -> str:
        assert main([str(argument) for argument in arguments]) == code
        lines = [line.strip() for line in capsys.readouterr().err.splitlines()]
        (error,) = (line for line in lines if line.startswith("monai-iscs: "))
        assert lines[-1] == error
        assert not any("Traceback" in line for line in lines)
        return error

    return run
