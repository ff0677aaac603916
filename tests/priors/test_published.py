# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in the published layouts, and the reference networks' outputs for equal weights."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from monai_iscs.errors import InputError
from monai_iscs.priors import load_published_prior

CLOSE = 1e-5  # relative; 1e-4 is required


@pytest.fixture
def save(tmp_path):
    """``save(content)`` as a checkpoint file."""

    def write(content: object, **options: object) -> Path:
        torch.save(content, tmp_path / "checkpoint.pth", **options)
        return tmp_path / "checkpoint.pth"

    return write


@pytest.fixture
def score_sde(published):
    return published("ncsnpp")


@pytest.fixture
def guided_diffusion(published):
    return published("guided_diffusion")


def network_of(path: Path) -> torch.nn.Module:
    return load_published_prior(path, orientation="array").denoiser.network


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_a_training_checkpoint_is_the_reference_with_averaged_weights(save, score_sde, prefix):
    prior = load_published_prior(save(score_sde.training_checkpoint(prefix)), orientation="array")
    assert prior.averaged
    assert prior.channels == 1
    assert not prior.denoiser.training
    assert score_sde.difference(prior.denoiser.network) < CLOSE


@pytest.mark.parametrize("wrapped", [False, True])
def test_weights_alone_are_taken_as_they_are(save, score_sde, wrapped):
    path = save({"model": score_sde.weights} if wrapped else score_sde.weights)
    assert not load_published_prior(path).averaged
    assert score_sde.difference(network_of(path)) < CLOSE


def test_files_of_older_pytorch_and_numpy(save, score_sde):
    """Not an archive but several pickles, with the former name of NumPy's core."""
    path = save(score_sde.training_checkpoint(), _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    assert b"cnumpy.core.multiarray\n" in path.read_bytes()
    assert score_sde.difference(network_of(path)) < CLOSE


@pytest.mark.parametrize("prefix", ["", "module."])
def test_guided_diffusion_is_the_reference(save, guided_diffusion, prefix):
    path = save({prefix + name: value for name, value in guided_diffusion.weights.items()})
    assert guided_diffusion.difference(network_of(path)) < CLOSE


@pytest.mark.parametrize("kind", ["ncsnpp", "guided_diffusion"])
def test_the_definition_makes_the_same_denoiser(save, published, kind):
    reference = published(kind)
    prior = load_published_prior(save(reference.weights))
    again = ConfigParser({"network_def": prior.definition}).get_parsed_content("network_def")
    again.load_state_dict(prior.denoiser.state_dict())
    x = reference.x + reference.numbers(3, reference.x.shape)
    with torch.inference_mode():
        torch.testing.assert_close(again.eval()(x, 0.7), prior.denoiser(x, 0.7))
        turned = load_published_prior(save(reference.weights), orientation="array").denoiser
        displayed = x.transpose(-1, -2).flip(-1, -2)
        expected = turned(displayed, 0.7).transpose(-1, -2).flip(-1, -2)
        torch.testing.assert_close(prior.denoiser(x, 0.7), expected)
    for setting, value in reference.settings.items():
        assert prior.definition["network"]["network"][setting] == value


def test_dds_is_seen_as_in_its_own_step(save, guided_diffusion):
    """x0 = (x_t - sqrt(1 - a) eps) / sqrt(a), on unscaled images in [0, 1]."""
    denoiser = load_published_prior(save(guided_diffusion.weights), orientation="array").denoiser
    alpha = float((1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)[500])
    x = guided_diffusion.x
    with torch.inference_mode():
        noise = denoiser.network(x, timesteps=500.0)
        expected = (x - (1 - alpha) ** 0.5 * noise) / alpha**0.5
        torch.testing.assert_close(
            denoiser(x / alpha**0.5, ((1 - alpha) / alpha) ** 0.5), expected, rtol=1e-3, atol=1e-3
        )


def without(names: dict[str, object], name: str) -> dict[str, object]:
    return {key: value for key, value in names.items() if key != name}


@pytest.mark.parametrize(
    "name", ["all_modules.0.W", "all_modules.1.bias", "all_modules.4.Conv_1.weight", "all_modules.4.Conv_0.weight"]
)
def test_no_weight_may_be_missing(save, score_sde, name):
    content = score_sde.training_checkpoint()
    content["model"] = without(content["model"], f"module.{name}")
    with pytest.raises(
        InputError, match=r"checkpoint.pth: found (1 weights missing|no weight .*, expected|another kind)"
    ):
        load_published_prior(save(content))


@pytest.mark.parametrize("kind", ["ncsnpp", "guided_diffusion"])
def test_no_weight_may_be_unknown(save, published, kind):
    weights = {**published(kind).weights, "other.weight": torch.ones(3)}
    with pytest.raises(InputError, match=r"checkpoint.pth: found 0 weights missing and 1 unknown, such as other"):
        load_published_prior(save(weights))


def test_no_weight_of_guided_diffusion_may_be_missing(save, guided_diffusion):
    for name in ("out.2.weight", "middle_block.1.qkv.bias", "output_blocks.0.0.out_layers.3.weight"):
        with pytest.raises(InputError, match=r"checkpoint.pth: found (1 weights missing|another kind)"):
            load_published_prior(save(without(guided_diffusion.weights, name)))


def test_averages_must_be_those_of_the_weights(save, score_sde):
    content = score_sde.training_checkpoint()
    averages = content["ema"]["shadow_params"]
    for wrong in (averages[:-1], averages[::-1], [*averages, averages[0]]):
        content["ema"]["shadow_params"] = wrong
        with pytest.raises(InputError, match=rf"found {len(wrong)} averaged weights \(EMA\) of other shapes"):
            load_published_prior(save(content))
    content["ema"] = {"decay": 0.999}
    with pytest.raises(InputError, match="found an 'ema' without 'shadow_params', expected a list"):
        load_published_prior(save(content))


def test_weights_of_wrong_shapes(save, score_sde):
    weights = {**score_sde.weights, "all_modules.1.bias": torch.ones(5)}
    with pytest.raises(InputError, match=r"checkpoint.pth: .*size mismatch for embedding.0.bias"):
        load_published_prior(save(weights))


@pytest.mark.parametrize("kept", ["all_modules.5.", "all_modules.6."])
def test_another_kind_of_ncsnpp(save, score_sde, kept):
    weights = {name: value for name, value in score_sde.weights.items() if not name.startswith(kept)}
    with pytest.raises(InputError, match="another kind of NCSN"):
        load_published_prior(save(weights))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"conv.weight": torch.ones(2)}, "found conv.weight, expected the weights of NCSN.. or of guided"),
        ({}, "found nothing"),
        ([1, 2], "found other things than tensors, expected them by name"),
        ({"model": {"a": 1}}, "found other things than tensors, expected them by name"),
        ({"when": datetime.datetime(2024, 1, 1)}, "found datetime.datetime, expected tensors and plain data only"),
    ],
)
def test_files_of_other_things(save, content, message):
    with pytest.raises(InputError, match=message):
        load_published_prior(save(content))


def test_files_that_are_missing_or_damaged(save, tmp_path, score_sde):
    with pytest.raises(InputError, match=r"no.pth: found no such file, expected a checkpoint"):
        load_published_prior(tmp_path / "no.pth")
    path = save(score_sde.weights)
    for content in (path.read_bytes()[:5000], b"<html>quota exceeded</html>", b""):
        path.write_bytes(content)
        with pytest.raises(
            InputError, match=r"checkpoint.pth: found a damaged file or one of another kind, expected a checkpoint"
        ):
            load_published_prior(path)


def test_an_unknown_orientation(save, score_sde):
    with pytest.raises(InputError, match="orientation: found 'upside down', expected one of display, array"):
        load_published_prior(save(score_sde.weights), orientation="upside down")
