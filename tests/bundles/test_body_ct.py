# SPDX-License-Identifier: Apache-2.0
"""The shipped CT bundle in use."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle import load as load_bundle

from monai_iscs.engines import psnr_at
from monai_iscs.grid import Grid
from monai_iscs.methods import parse_method
from monai_iscs.priors import EDMDenoiser
from monai_iscs.transforms import ct_preprocessing
from monai_iscs.workflows.bundle import load_network, read_config
from monai_iscs.workflows.pipeline import Pipeline

BUNDLE = Path(__file__).parents[2] / "bundles" / "body_ct_reconstruction"
CONFIGS = BUNDLE / "configs"
DATA = Path(__file__).parents[1] / "data"


def read(name: str) -> dict:
    return json.loads((CONFIGS / name).read_text())


@pytest.fixture(scope="module")
def prior() -> EDMDenoiser:
    return load_bundle(BUNDLE.name, bundle_dir=BUNDLE.parent, workflow_type="inference").eval()


def test_metadata_has_what_monai_requires() -> None:
    metadata = read("metadata.json")
    required = {
        "schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version", "task",
        "description", "authors", "copyright", "network_data_format", "changelog",
    }  # fmt: skip
    assert required <= set(metadata)
    assert metadata["version"] in metadata["changelog"]
    for entry in (
        metadata["network_data_format"]["inputs"]["image"],
        metadata["network_data_format"]["outputs"]["pred"],
    ):
        assert {"type", "format", "num_channels", "spatial_shape", "dtype", "value_range"} <= set(entry)


def test_files_of_a_bundle_are_there_and_small_enough() -> None:
    for name in ("LICENSE", "docs/README.md", "docs/data_license.txt", "models/model.pt", "demo/ATTRIBUTION.md"):
        assert (BUNDLE / name).is_file(), name
    assert (BUNDLE / "models" / "model.pt").stat().st_size < 25e6
    assert (BUNDLE / "demo" / "body_ct.nii.gz").stat().st_size < 4e6


def test_every_config_has_the_same_network() -> None:
    assert read("train.json")["network_def"] == read("inference.json")["network_def"]
    neighbours = read("inference.json")["networks"]["neighbours"]
    assert read("train_neighbours.json")["network_def"] == neighbours["network_def"]


def test_the_coronal_prior_is_better_in_its_plane_and_the_axial_one_in_its_own(prior: EDMDenoiser) -> None:
    """An unseen patient, slices of 2.5 mm."""
    config = read_config(BUNDLE, "inference", {})
    assert (BUNDLE / "models" / "coronal.pt").stat().st_size < 25e6
    coronal = load_network(config, torch.device("cpu"), "coronal")
    read = ct_preprocessing("label", hu_range=(-1000, 1600))
    volume = read({"label": str(DATA / "lidc-idri-0001_standard.nii.gz")})["label"].as_tensor()[0]
    volume = volume[64:192, 64:192, : volume.shape[2] // 16 * 16]
    noise = torch.randn(volume.shape, generator=torch.Generator().manual_seed(0))

    def error(network: EDMDenoiser, axis: int) -> float:
        clean, noisy = (image.movedim(axis, 0)[::8, None] for image in (volume, volume + 0.2 * noise))
        with torch.inference_mode():
            return float((network(noisy, 0.2) - clean).square().mean())

    gains = {axis: 10 * math.log10(error(prior, axis) / error(coronal, axis)) for axis in (1, 2)}
    assert gains[1] > 0.1
    assert gains[2] < -0.03


def test_neighbours_help_to_denoise_an_unseen_patient(prior: EDMDenoiser) -> None:
    """Slices of 2.5 mm, whose neighbours have as much noise."""
    config = read_config(BUNDLE, "inference", {})
    assert (BUNDLE / "models" / "neighbours.pt").stat().st_size < 25e6
    network = load_network(config, torch.device("cpu"), "neighbours")
    read = ct_preprocessing("label", hu_range=(-1000, 1600))
    volume = read({"label": str(DATA / "lidc-idri-0001_standard.nii.gz")})["label"]
    stack = volume.as_tensor()[0, 64:192, 64:192].movedim(-1, 0)[:, None]
    distance = stack.new_full((1, 1, 1, 1), math.log(2.5)).expand(len(stack) - 2, 1, *stack.shape[-2:])
    for sigma, gain in ((0.05, 0.2), (0.2, 0.8)):
        noisy = stack + sigma * torch.randn(stack.shape, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            alone = prior(noisy[1:-1], sigma)
            seeing = network(torch.cat([noisy[1:-1], noisy[:-2], noisy[2:], distance], 1), sigma)
        errors = [float((found - stack[1:-1]).square().mean()) for found in (alone, seeing)]
        assert 10 * math.log10(errors[0] / errors[1]) > gain


def test_load_returns_the_working_prior(prior: EDMDenoiser) -> None:
    """It removes most of the noise from an unseen patient, at every sigma of the recipes."""
    volume = ct_preprocessing("image", size=128)({"image": str(BUNDLE / "demo" / "body_ct.nii.gz")})["image"]
    clean = volume.as_tensor().movedim(3, 0)[::16]
    for sigma, least in ((0.02, 37.0), (0.1, 28.5), (0.5, 22.0)):
        assert psnr_at(prior, clean, sigma) > least


def inference(tmp_path: Path, *files: str, **changes: object) -> ConfigWorkflow:
    settings = {
        "bundle_root": str(BUNDLE),
        "dataset_dir": str(tmp_path / "input"),
        "output_dir": str(tmp_path / "output"),
        "device": "$torch.device('cpu')",
        "size": 32,
        "steps": 2,
        "views": 8,
    }
    return ConfigWorkflow(
        config_file=[str(CONFIGS / name) for name in files],
        meta_file=str(CONFIGS / "metadata.json"),
        logging_file=False,
        workflow_type="inference",
        **(settings | changes),
    )


@pytest.fixture
def small_input(tmp_path: Path, data_folder: Path) -> Path:
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "trunk.nii.gz").write_bytes((data_folder / "totalseg_example_ct_sm.nii.gz").read_bytes())
    return tmp_path


def test_inference_config_runs_from_file_to_file(small_input: Path) -> None:
    import nibabel as nib

    workflow = inference(small_input, "inference.json")
    workflow.initialize()
    assert workflow.check_properties() == []
    workflow.run()
    result = nib.load(small_input / "output" / "trunk_reconstruction.nii.gz")
    source = nib.load(small_input / "input" / "trunk.nii.gz")
    assert result.shape == source.shape
    torch.testing.assert_close(torch.tensor(result.affine), torch.tensor(source.affine))
    assert result.get_fdata().min() > -1500
    assert -1000 < result.get_fdata().mean() < 0


def test_inference_config_runs_methods_with_further_networks(small_input: Path) -> None:
    """As by a `Pipeline`, which reads the networks by itself."""
    import nibabel as nib

    workflow = inference(small_input, "inference.json", method="tpdm")
    workflow.initialize()
    workflow.run()
    pipeline = Pipeline(BUNDLE, device="cpu", overrides={"size": 32, "steps": 2, "views": 8})
    measured = pipeline.measure(pipeline.load(small_input / "input" / "trunk.nii.gz"))
    result = pipeline.sample(pipeline.sampler(parse_method("tpdm")), measured, lambda _: None).volume
    found = nib.load(small_input / "output" / "trunk_reconstruction.nii.gz")
    expected = pipeline.restore(result, measured)[0]
    np.testing.assert_allclose(found.get_fdata(), expected.numpy(), atol=0.01)


def test_evaluate_config_reports_every_metric(small_input: Path) -> None:
    workflow = inference(small_input, "inference.json", "evaluate.json")
    workflow.initialize()
    workflow.run()
    metrics = workflow.evaluator.state.metrics
    names = {f"{view}_{name}" for view in ("axial", "coronal", "sagittal") for name in ("psnr", "ssim")}
    assert names | {"slice_difference_gap"} <= set(metrics)
    assert metrics["coronal_psnr"] > 10
    assert (small_input / "output" / "metrics.csv").is_file()


def test_what_is_trained_can_be_used() -> None:
    train, use = ConfigParser(read("train.json")), ConfigParser(read("inference.json"))
    network = train.get_parsed_content("network_def")
    use.get_parsed_content("network_def").load_state_dict(network.state_dict())
    assert train["size"] == use["size"] == 256
    assert network.network.size_divisor == 8
    assert train["crop"] % network.network.size_divisor == 0


def test_the_limited_angle_config(small_input: Path) -> None:
    """100 views over 100 degrees, as in the paper, with their own settings."""
    use = ConfigParser()
    use.read_config([str(CONFIGS / name) for name in ("inference.json", "limited_angle.json")])
    operator = use.get_parsed_content("scan").operator(Grid.centered((32, 32, 16), (1, 1, 1)))
    source = operator.factored()[1].geometry.source
    angles = np.unwrap(np.arctan2(source[:, 1], source[:, 0]))
    assert len(angles) == 100
    assert float(abs(angles[-1] - angles[0])) == pytest.approx(np.deg2rad(99), rel=1e-6)
    assert use.get_parsed_content("inferer").recipe.sigmas.first == 1
    workflow = inference(small_input, "inference.json", "limited_angle.json", views=10)
    workflow.initialize()
    workflow.run()
    assert (small_input / "output" / "trunk_reconstruction.nii.gz").is_file()


@pytest.mark.parametrize(("hu_range", "unit"), [([-1000, 1600], 0.052), ([-1000, 3000], 0.08)])
def test_the_scan_is_in_the_units_of_the_hu_range(hu_range: list[int], unit: float) -> None:
    parser = ConfigParser(read("inference.json"))
    parser["hu_range"] = hu_range
    assert parser.get_parsed_content("scan").unit_attenuation == pytest.approx(unit, rel=1e-12)
