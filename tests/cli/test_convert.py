# SPDX-License-Identifier: Apache-2.0
"""``monai-iscs convert``: from a published checkpoint to a bundle that reconstructs."""

from __future__ import annotations

import hashlib
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_iscs.cli import main
from monai_iscs.priors import load_published_prior
from monai_iscs.workflows.bundle import load_network, read_config


@pytest.fixture(scope="module", params=["ncsnpp", "guided_diffusion"])
def checkpoint(request, tmp_path_factory, published):
    """A small checkpoint in either layout; treat as read-only."""
    reference = published(request.param)
    path = tmp_path_factory.mktemp(request.param) / "checkpoint.pth"
    torch.save(reference.training_checkpoint() if request.param == "ncsnpp" else reference.weights, path)
    return path


@pytest.fixture
def convert(checkpoint, bundle, tmp_path):
    """``convert(*options)`` makes a bundle of the checkpoint, with the settings of the small one."""

    def run(*options):
        output = tmp_path / "-".join(["converted", *map(str, options)])
        assert main(["convert", str(checkpoint), "--bundle", str(bundle), "--output", str(output), *options]) == 0
        return output

    return run


def network_of(folder):
    return load_network(read_config(folder, "inference", {}), torch.device("cpu"))


def test_the_bundle_reconstructs(convert, body, phantom, tmp_path, capsys):
    folder = convert("--size", "32")
    assert "models/model.pt" in capsys.readouterr().out
    output = tmp_path / "result"
    assert main(["reconstruct", str(body), "--bundle", str(folder), "--steps", "2", "--output", str(output)]) == 0
    result = nib.load(output / "reconstruction.nii.gz").get_fdata()
    assert result.shape == phantom.shape
    assert np.isfinite(result).all()
    assert json.loads((output / "run.json").read_text())["settings"]["bundle"] == str(folder)


def test_the_bundle_holds_exactly_the_checkpoint_s_denoiser(convert, checkpoint):
    prior, x = load_published_prior(checkpoint).denoiser, torch.rand(2, 1, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(network_of(convert())(x, 0.3), prior(x, 0.3), rtol=0, atol=0)


def test_half_precision_halves_the_file_and_keeps_the_frequencies(convert, checkpoint):
    whole, half = convert() / "models" / "model.pt", convert("--half")
    weights = torch.load(half / "models" / "model.pt", weights_only=True)
    assert {value.dtype for name, value in weights.items() if "frequencies" not in name} == {torch.float16}
    assert {value.dtype for name, value in weights.items() if "frequencies" in name} <= {torch.float32}
    assert (half / "models" / "model.pt").stat().st_size < 0.8 * whole.stat().st_size
    prior, x = load_published_prior(checkpoint).denoiser, torch.rand(2, 1, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(network_of(half)(x, 0.3), prior(x, 0.3), rtol=0, atol=0.01)


def test_slices_in_the_order_of_the_array(convert):
    x = torch.rand(1, 1, 16, 16)
    with torch.inference_mode():
        array, display = network_of(convert("--orientation", "array")), network_of(convert())
        turned = array(x.transpose(-1, -2).flip(-1, -2), 0.3).transpose(-1, -2).flip(-1, -2)
        torch.testing.assert_close(display(x, 0.3), turned)


def test_only_what_belongs_to_the_network_changes(convert, checkpoint, bundle, tmp_path):
    source = shutil.copytree(bundle, tmp_path / "source")
    (source / "configs" / "limited_angle.json").write_text('{"arc": 100, "recipe": "limited-angle"}')
    (source / "configs" / "calibration.json").write_text('{"calibrations": []}')  # of the prior that is replaced
    (source / "configs" / "wide.json").write_text('{"network_def::network::network::channels": [4]}')
    output = tmp_path / "converted"
    assert main(["convert", str(checkpoint), "--bundle", str(source), "--output", str(output)]) == 0
    assert {file.name for file in (output / "configs").iterdir()} == {
        "inference.json",
        "limited_angle.json",
        "metadata.json",
    }
    before, after = (json.loads((folder / "configs" / "inference.json").read_text()) for folder in (source, output))
    assert {key for key in before if before[key] != after[key]} == {
        "network_def",
        "networks",
        "size",
        "recipes",
        "recipe",
    }
    assert (after["size"], after["recipe"]) == (256, "released")
    assert list(after["recipes"]) == ["released", "paper"]  # the others were tuned for the prior that is replaced
    assert all(after["recipes"][name] == before["recipes"][name] for name in after["recipes"])
    assert json.loads((output / "configs" / "limited_angle.json").read_text()) == {"arc": 100}
    metadata = json.loads((output / "configs" / "metadata.json").read_text())
    assert metadata["version"] == "0.0.1"
    assert hashlib.sha256(checkpoint.read_bytes()).hexdigest() in metadata["data_source"]


def test_metadata_of_a_shipped_bundle_tell_the_new_network_s_sizes(checkpoint, tmp_path):
    output = tmp_path / "mri"
    assert main(["convert", str(checkpoint), "--bundle", "brain_mri_super_resolution", "--output", str(output)]) == 0
    metadata = json.loads((output / "configs" / "metadata.json").read_text())
    divisor = network_of(output).size_divisor
    formats = metadata["network_data_format"]
    assert formats["inputs"]["image"]["spatial_shape"] == 2 * [f"{divisor}*n"]
    assert formats["outputs"]["pred"]["spatial_shape"] == 2 * [f"{divisor}*n"]
    assert "checkpoint.pth" in metadata["description"]


def test_what_cannot_be_converted(fails, checkpoint, bundle, mri, tmp_path):
    output = tmp_path / "out"
    assert f"found {bundle / 'missing.pth'}, expected a file or folder that exists" in fails(
        "convert", bundle / "missing.pth", "--bundle", bundle, "--output", output
    )
    line = fails("convert", bundle / "models" / "model.pt", "--bundle", bundle, "--output", output)
    assert f"{bundle / 'models' / 'model.pt'}: found network." in line
    assert "expected the weights of NCSN++ or of guided diffusion" in line
    line = fails("convert", checkpoint, "--bundle", mri, "--size", 32, "--output", output)
    assert "--size: found 32, expected none" in line
    assert not output.exists()
    line = fails("convert", checkpoint, "--bundle", bundle, "--output", bundle)
    assert f"{bundle}: found files, expected a new or empty folder" in line


def test_two_priors_of_perpendicular_slices_work_in_turn(checkpoint, bundle, body, tmp_path):
    """TPDM; the second one is damped, so that its part can be seen."""
    content = torch.load(checkpoint, weights_only=False)
    weights = content["ema"]["shadow_params"] if "ema" in content else list(content.values())
    weights[-2].mul_(0.5)  # of the last layer
    torch.save(content, tmp_path / "other.pth")
    folder = tmp_path / "tpdm"
    files = [str(checkpoint), str(tmp_path / "other.pth")]
    assert main(["convert", *files, "--bundle", str(bundle), "--size", "32", "--output", str(folder)]) == 0
    config = read_config(folder, "inference", {})
    x = torch.rand(2, 1, 16, 16)
    with torch.inference_mode():
        for name, file in zip(("prior", "across"), files, strict=True):
            expected = load_published_prior(file).denoiser(x, 0.3)
            assert torch.equal(load_network(config, torch.device("cpu"), name)(x, 0.3), expected)
    volumes = {}
    for method in ("tpdm", "dds"):
        output = tmp_path / method
        line = ["reconstruct", str(body), "--bundle", str(folder), "--steps", "2", "--output", str(output)]
        assert main([*line, "--method", method]) == 0
        volumes[method] = nib.load(output / "reconstruction.nii.gz").get_fdata()
        label = json.loads((output / "run.json").read_text())["settings"]["method"]
        assert label == method.upper()
    assert np.abs(volumes["tpdm"] - volumes["dds"]).max() > 1


@pytest.fixture
def blend(published, tmp_path):
    """A checkpoint like DiffusionBlend's: three slices in, their noise and its variance out, with classes."""
    weights = dict(published("guided_diffusion").weights)
    weights["input_blocks.0.0.weight"] = weights["input_blocks.0.0.weight"].repeat(1, 3, 1, 1) / 3
    for name in ("out.2.weight", "out.2.bias"):
        noise, variance = weights[name].chunk(2)
        weights[name] = torch.cat([noise * share for share in (1, 0.9, 0.8)] + [variance] * 3)
    width = len(weights["time_embed.2.bias"])
    weights["label_emb.weight"] = torch.zeros(1000, width)
    weights["label_emb.weight"][3] = 0.5
    torch.save({"iterations": 1, "state_dict": weights}, tmp_path / "blend.pt")  # as their training saves it
    return tmp_path / "blend.pt"


def test_a_prior_of_three_slices_is_used_as_such(blend, checkpoint, bundle, body, tmp_path):
    folder = tmp_path / "blend"
    assert main(["convert", str(blend), "--bundle", str(bundle), "--size", "32", "--output", str(folder)]) == 0
    output = tmp_path / "result"
    assert main(["reconstruct", str(body), "--bundle", str(folder), "--steps", "2", "--output", str(output)]) == 0
    settings = json.loads((output / "run.json").read_text())["settings"]
    assert settings["sampler"]["prior"] == {"name": "Triplets", "axis": 2, "network": "prior", "jump": 3}
    assert settings["method"] == "DiffusionBlend+ISCS"
    single = tmp_path / "single"  # nothing of its prior stays in a bundle that is made of it
    assert main(["convert", str(checkpoint), "--bundle", str(folder), "--size", "32", "--output", str(single)]) == 0
    line = ["reconstruct", str(body), "--bundle", str(single), "--steps", "2", "--output", str(tmp_path / "again")]
    assert main(line) == 0
    assert np.isfinite(nib.load(output / "reconstruction.nii.gz").get_fdata()).all()


def test_what_cannot_work_in_turn(fails, blend, checkpoint, bundle, tmp_path):
    line = fails("convert", checkpoint, blend, "--bundle", bundle, "--output", tmp_path / "out")
    assert "blend.pt: found a prior of 3 slices, expected 1, as in TPDM" in line
    line = fails("convert", checkpoint, checkpoint, checkpoint, "--bundle", bundle, "--output", tmp_path / "out")
    assert "checkpoint: found 3 files, expected one, or two of perpendicular slices" in line
    weights = torch.load(blend)["state_dict"]
    weights["label_emb.weight"] = weights["label_emb.weight"][:2]
    torch.save(weights, tmp_path / "two.pt")
    line = fails("convert", tmp_path / "two.pt", "--bundle", bundle, "--output", tmp_path / "out")
    assert "two.pt: found a network of 3 channels and 2 classes, expected three slices and the classes" in line


def test_images_of_several_channels(fails, published, bundle, tmp_path):
    weights = dict(published("guided_diffusion").weights)
    for name, axis in (("input_blocks.0.0.weight", 1), ("out.2.weight", 0), ("out.2.bias", 0)):
        weights[name] = torch.cat([weights[name], weights[name]], dim=axis)
    torch.save(weights, tmp_path / "complex.pt")
    line = fails("convert", tmp_path / "complex.pt", "--bundle", bundle, "--output", tmp_path / "out")
    assert "complex.pt: found a prior of 2 channels, expected 1" in line


def test_weights_that_are_not_finite(fails, published, bundle, tmp_path):
    weights = dict(published("guided_diffusion").weights)
    weights["out.2.bias"] = weights["out.2.bias"] * float("nan")
    torch.save(weights, tmp_path / "broken.pt")
    line = fails("convert", tmp_path / "broken.pt", "--bundle", bundle, "--output", tmp_path / "out")
    assert "found NaN or infinite values in its weight out.2.bias" in line
    broken = shutil.copytree(bundle, tmp_path / "bundle")
    model = torch.load(broken / "models" / "model.pt")
    next(iter(model.values())).view(-1)[0] = float("inf")
    torch.save(model, broken / "models" / "model.pt")
    line = fails("reconstruct", tmp_path / "broken.pt", "--bundle", broken, "--output", tmp_path / "o")
    assert "model.pt: found NaN or infinite values in its weight" in line
