# SPDX-License-Identifier: Apache-2.0
"""The shipped MRI bundle in use, with a small untrained network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle import load as load_bundle

from monai_iscs.engines import psnr_at
from monai_iscs.errors import InputError

BUNDLE = Path(__file__).parents[2] / "bundles" / "brain_mri_super_resolution"
CONFIGS = BUNDLE / "configs"
SMALL = {
    "network_def::network::network::channels": [8, 8],
    "network_def::network::network::num_res_blocks": [1, 1],
    "network_def::network::network::attention_levels": [False, False],
    "network_def::network::network::norm_num_groups": 4,
    "network_def::network::network::num_head_channels": 8,
    "device": "$torch.device('cpu')",
}


def read(name: str) -> dict:
    return json.loads((CONFIGS / name).read_text())


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A thin brain of 0.9 x 0.9 x 1 mm in train, val and input; thick slices in thick."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (40, 44, 24)), indexing="ij")
    brain = np.where((x / 0.7) ** 2 + (y / 0.8) ** 2 + (z / 0.9) ** 2 < 1, 900 + 250 * np.sin(3 * x + 4 * z), 0)
    for folder in ("train", "val", "input", "thick"):
        (tmp_path / folder).mkdir()
    nib.save(nib.Nifti1Image(brain.astype(np.float32), np.diag([-0.9, 0.9, 1, 1])), tmp_path / "train" / "brain.nii.gz")
    for folder in ("val", "input"):
        shutil.copy(tmp_path / "train" / "brain.nii.gz", tmp_path / folder)
    thick = brain.reshape(40, 44, 4, 6).mean(-1).astype(np.float32)
    nib.save(nib.Nifti1Image(thick, np.diag([0.9, 0.9, 6, 1])), tmp_path / "thick" / "brain.nii.gz")
    return tmp_path


def workflow(kind: str, *files: str, **changes: object) -> ConfigWorkflow:
    return ConfigWorkflow(
        config_file=[str(CONFIGS / name) for name in files],
        meta_file=str(CONFIGS / "metadata.json"),
        logging_file=False,
        workflow_type=kind,
        **(SMALL | changes),
    )


def inference(dataset: Path, *files: str, **changes: object) -> ConfigWorkflow:
    config = ConfigParser(read("inference.json"))
    for key, value in SMALL.items():
        config[key] = value
    torch.manual_seed(0)
    torch.save(config.get_parsed_content("network_def").state_dict(), dataset / "model.pt")
    settings = {"ckpt_path": str(dataset / "model.pt"), "output_dir": str(dataset / "output"), "steps": 2}
    return workflow("inference", *files, **(settings | changes))


def test_metadata_has_what_monai_requires() -> None:
    metadata = read("metadata.json")
    required = {
        "schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version", "task",
        "description", "authors", "copyright", "network_data_format", "changelog",
    }  # fmt: skip
    assert required <= set(metadata)
    assert metadata["version"] in metadata["changelog"]
    for name in ("LICENSE", "docs/README.md", "docs/data_license.txt"):
        assert (BUNDLE / name).is_file(), name


def test_every_config_has_the_same_network() -> None:
    assert read("train.json")["network_def"] == read("inference.json")["network_def"]


def test_measured_slices_from_file_to_file(dataset: Path) -> None:
    run = inference(dataset, "inference.json", dataset_dir=str(dataset / "thick"))
    run.initialize()
    assert run.check_properties() == []
    run.run()
    result = nib.load(dataset / "output" / "brain_reconstruction.nii.gz")
    assert result.shape == (36, 40, 24)
    np.testing.assert_allclose(result.header.get_zooms(), 1, atol=1e-6)
    assert result.affine[2, 3] == pytest.approx(-2.5)
    assert 700 < result.get_fdata()[16:20, 18:22].max() < 1500


@pytest.mark.parametrize("factor", [5, 3.3])
def test_simulated_scans_of_any_factor_are_scored(dataset: Path, factor: float) -> None:
    changes = {"dataset_dir": str(dataset / "input"), "factor": factor}
    run = inference(dataset, "inference.json", "evaluate.json", **changes)
    run.initialize()
    run.run()
    metrics = run.evaluator.state.metrics
    names = {f"{view}_{name}" for view in ("axial", "coronal", "sagittal") for name in ("psnr", "ssim")}
    assert names | {"slice_difference_gap", "data_residual"} <= set(metrics)
    assert metrics["coronal_psnr"] > 15
    assert 0 < metrics["data_residual"] < 0.06  # an empty volume has 1


def test_measured_scans_are_scored_by_their_own_slices(dataset: Path) -> None:
    """Their truth is unknown: only the fit to the slices can be measured."""
    run = inference(dataset, "inference.json", "evaluate.json", dataset_dir=str(dataset / "thick"))
    run.initialize()
    run.run()
    assert set(run.evaluator.state.metrics) >= {"data_residual"}
    assert not [name for name in run.evaluator.state.metrics if "psnr" in name]
    assert 0 < run.evaluator.state.metrics["data_residual"] < 0.06  # an empty volume has 1


def test_file_to_file_with_a_factor(dataset: Path) -> None:
    run = inference(dataset, "inference.json", dataset_dir=str(dataset / "input"), factor=5)
    run.initialize()
    run.run()
    result, source = (nib.load(dataset / name) for name in ("output/brain_reconstruction.nii.gz", "input/brain.nii.gz"))
    assert result.shape == source.shape
    np.testing.assert_allclose(result.affine, source.affine, atol=1e-6)


def test_training_refuses_what_is_not_mr(dataset: Path) -> None:
    file = dataset / "train" / "brain.nii.gz"
    image = nib.load(file)
    nib.save(nib.Nifti1Image((image.get_fdata() - 1000).astype(np.float32), image.affine), file)
    run = workflow("train", "train.json", dataset_dir=str(dataset), output_dir=str(dataset / "run"))
    with pytest.raises(RuntimeError) as caught:
        run.parser.get_parsed_content("train::dataset")
    error = caught.value
    while not isinstance(error, InputError):
        error = error.__cause__
    assert f"{file}: " in str(error)
    assert "expected MR magnitudes" in str(error)


def test_training_sees_coronal_slices_at_one_millimetre(dataset: Path) -> None:
    settings = {"output_dir": str(dataset / "run"), "crop": 16, "size": [40, 32], "epochs": 1, "validate_every": 10}
    run = workflow("train", "train.json", dataset_dir=str(dataset), **(settings | {"validation_sigmas": [0.1]}))
    run.initialize()
    assert run.check_properties() == []
    slices = run.parser.get_parsed_content("train::dataset").data
    assert len(slices) == 31  # the brain's 34 voxels of 0.9 mm along y
    assert {tuple(item["image"].shape) for item in slices} == {(1, 32, 24)}  # 28 voxels of 0.9 mm and a margin along x
    assert slices[0]["image"].dtype == torch.float16
    assert 0.9 < max(float(item["image"].max()) for item in slices) < 1.3
    run.run()
    weights = torch.load(dataset / "run" / "model.pt", weights_only=True)
    config = ConfigParser(read("inference.json"))
    for key, value in SMALL.items():
        config[key] = value
    config.get_parsed_content("network_def").load_state_dict(weights)


def test_the_shipped_prior_denoises() -> None:
    """Air, and a plateau of white matter with a straight edge: 20 dB at this sigma without a network."""
    prior = load_bundle(BUNDLE.name, bundle_dir=BUNDLE.parent, workflow_type="inference").eval()
    assert sum(weight.numel() for weight in prior.parameters()) > 5e6
    clean = torch.zeros(2, 1, 96, 96)
    clean[1, :, 30:70, 20:76] = 0.8
    assert psnr_at(prior, clean[:1], 0.1) > 33
    assert psnr_at(prior, clean[1:], 0.1) > 26
