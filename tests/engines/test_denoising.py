# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch
from ignite.engine import Engine

from monai_iscs.engines import NoiseLevels, TrainingBatch, ValidationBatch, denoising_psnr, psnr_at
from monai_iscs.errors import InputError
from monai_iscs.priors import ConditionedDenoiser, EDMDenoiser, NeighbourDenoiser


def silent(x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(x)


@pytest.fixture
def denoiser() -> EDMDenoiser:
    network = torch.nn.Identity()
    network.forward = silent
    return EDMDenoiser(network, sigma_data=0.25)


def test_noise_levels_stay_in_the_span_and_mostly_in_the_core() -> None:
    levels = NoiseLevels(span=(0.005, 400.0), core=(0.01, 5.0), core_fraction=0.9)
    sigma = levels(20_000, generator=torch.Generator().manual_seed(0))
    assert sigma.min() >= 0.005 * (1 - 1e-5)
    assert sigma.max() <= 400 * (1 + 1e-5)
    inside = 0.9 + 0.1 * math.log(5 / 0.01) / math.log(400 / 0.005)
    assert ((sigma >= 0.01) & (sigma <= 5)).float().mean() == pytest.approx(inside, abs=0.005)
    assert (sigma > 100).any()


def test_noise_levels_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match=r"(core|core_fraction): found"):
        NoiseLevels(span=(0.1, 1.0), core=(0.01, 0.5))


def test_training_batch_is_the_networks_input_and_target(denoiser: EDMDenoiser) -> None:
    clean = torch.rand(6, 1, 8, 8)
    batch = TrainingBatch(denoiser, noise_levels=NoiseLevels())
    inputs, target, (timesteps,), _ = batch({"image": clean})
    sigma = (timesteps / 100).exp()[:, None, None, None]
    total = (sigma**2 + 0.25**2).sqrt()
    x = inputs * total
    restored = 0.25**2 / total**2 * x + sigma * 0.25 / total * target
    torch.testing.assert_close(restored, clean, atol=1e-3, rtol=1e-3)


def test_the_seed_alone_decides_what_a_training_draws(denoiser: EDMDenoiser) -> None:
    clean = torch.rand(6, 1, 8, 8)

    def draws(seed: int) -> list[torch.Tensor]:
        torch.rand(torch.seed() % 7)  # even if something else used the global generator
        batch = TrainingBatch(denoiser, noise_levels=NoiseLevels(), seed=seed)
        return [batch({"image": clean})[0] for _ in range(2)]

    first, again, other = draws(0), draws(0), draws(1)
    torch.testing.assert_close(first, again, atol=0, rtol=0)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], other[0])


def test_validation_batch_is_the_same_each_time_and_has_every_level() -> None:
    clean = torch.rand(3, 1, 8, 8)
    batch = ValidationBatch([0.1, 1.0])
    noisy, label, (sigma,), _ = batch({"image": clean})
    assert noisy.shape == (6, 1, 8, 8)
    torch.testing.assert_close(label[::2], clean)
    torch.testing.assert_close(sigma, torch.tensor([0.1, 1.0] * 3))
    torch.testing.assert_close(noisy, batch({"image": clean})[0], atol=0, rtol=0)
    assert ((noisy - label)[1::2].std() / (noisy - label)[::2].std()) == pytest.approx(10, rel=0.2)


def test_psnr_metrics_separate_the_levels() -> None:
    clean = torch.zeros(4, 1, 16, 16)
    noisy, label, _, _ = ValidationBatch([0.1, 1.0])({"image": clean})
    engine = Engine(lambda _, batch: batch)
    for name, metric in denoising_psnr([0.1, 1.0]).items():
        metric.attach(engine, name)
    values = engine.run([{"pred": noisy, "label": label}]).metrics
    assert values["psnr_sigma_0.1"] == pytest.approx(20, abs=0.3)
    assert values["psnr_sigma_1"] == pytest.approx(0, abs=0.3)


def test_psnr_at_knows_the_noise_it_added() -> None:
    clean = torch.rand(5, 1, 32, 32)
    assert psnr_at(lambda x, sigma: x, clean, 0.1) == pytest.approx(20, abs=0.3)
    assert psnr_at(lambda x, sigma: x, clean, 0.1, batch=2) == pytest.approx(psnr_at(lambda x, sigma: x, clean, 0.1))


def test_a_batchs_condition_is_shown_to_the_denoiser() -> None:
    """Numbers become planes; images stay as they are; neither is noised or scaled."""
    network = torch.nn.Identity()
    denoiser = ConditionedDenoiser(network, sigma_data=0.25, conditions=1)
    clean = torch.rand(2, 3, 8, 8)
    for condition in (torch.tensor([[1.0], [2.0]]), torch.rand(2, 1, 8, 8)):
        data = {"image": clean, "condition": condition}
        planes = condition.reshape(2, 1, *(condition.shape[2:] or (1, 1))).expand(2, 1, 8, 8)
        inputs, target, _, _ = TrainingBatch(denoiser, noise_levels=NoiseLevels())(data)
        assert torch.equal(inputs[:, 3:], planes)
        assert target.shape == clean.shape
        noisy, label, _, _ = ValidationBatch([0.1, 0.2])(data)
        assert torch.equal(noisy[:, 3:], planes.repeat_interleave(2, 0))
        assert torch.equal(label, clean.repeat_interleave(2, 0))


def test_a_batchs_neighbours_get_noise_of_their_own_and_no_target() -> None:
    denoiser = NeighbourDenoiser(torch.nn.Identity(), sigma_data=0.25, conditions=1)
    clean, neighbours = torch.rand(2, 1, 8, 8), torch.rand(2, 2, 8, 8)
    data = {"image": clean, "neighbours": neighbours, "condition": torch.tensor([[1.0], [2.0]])}
    levels = NoiseLevels(span=(1e-6, 2e-6), core=(1e-6, 2e-6))
    inputs, target, _, _ = TrainingBatch(denoiser, noise_levels=levels)(data)
    torch.testing.assert_close(inputs[:, :3], torch.cat([clean, neighbours], 1) / 0.25, rtol=1e-3, atol=1e-3)
    assert target.shape == clean.shape
    noisy, label, _, _ = ValidationBatch([0.1, 0.2])(data)
    noise = noisy[:, :3] - torch.cat([clean, neighbours], 1).repeat_interleave(2, 0)
    assert torch.equal(label, clean.repeat_interleave(2, 0))
    assert float(torch.corrcoef(noise[0].flatten(1)).triu(1).abs().max()) < 0.5
    assert noise.std(dim=(1, 2, 3)) == pytest.approx([0.1, 0.2, 0.1, 0.2], rel=0.2)
