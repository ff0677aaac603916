# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch
from monai.networks.nets import DiffusionModelUNet
from monai.networks.schedulers import DDPMScheduler
from torch import nn

from monai_iscs.errors import InputError
from monai_iscs.priors import (
    EDMDenoiser,
    EpsilonDenoiser,
    LabelledDenoiser,
    PatchNetwork,
    ScoreDenoiser,
    linear_alphas_cumprod,
)


class Recorder(nn.Module):
    """Returns a constant and records its inputs."""

    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        self.x, self.timesteps = x, timesteps
        return torch.full_like(x, self.value)


def small_network() -> PatchNetwork:
    unet = DiffusionModelUNet(
        spatial_dims=2,
        in_channels=4,
        out_channels=4,
        channels=[8, 16],
        num_res_blocks=1,
        attention_levels=[False, False],
        norm_num_groups=4,
        num_head_channels=8,
    )
    return PatchNetwork(unet, patch_size=2, size_divisor=4)


def test_edm_preconditioning_gives_the_gaussian_posterior_mean_when_the_network_is_silent() -> None:
    """With F = 0 the denoiser is the Wiener filter of a prior N(0, sigma_data^2): c_skip x."""
    denoiser = EDMDenoiser(Recorder(), sigma_data=0.3)
    x = torch.randn(3, 1, 4, 4)
    for sigma in (0.01, 0.3, 100.0):
        torch.testing.assert_close(denoiser(x, sigma), x * 0.3**2 / (sigma**2 + 0.3**2))


def test_edm_network_sees_unit_variance_and_gives_back_its_target() -> None:
    generator = torch.Generator().manual_seed(0)
    x0 = 0.3 * torch.randn(2000, 1, 4, 4, generator=generator)
    for sigma in (0.02, 0.5, 50.0):
        x = x0 + sigma * torch.randn(x0.shape, generator=generator)
        network = Recorder()
        denoiser = EDMDenoiser(network, sigma_data=0.3)
        denoiser(x, sigma)
        assert network.x.std() == pytest.approx(1, abs=0.02)
        assert denoiser.network_target(x, x0, sigma).std() == pytest.approx(1, abs=0.02)
        torch.testing.assert_close(network.timesteps, torch.full((2000,), 100 * math.log(sigma)))


def test_edm_target_is_what_makes_the_denoiser_exact() -> None:
    x0, noise = torch.rand(4, 1, 8, 8), torch.randn(4, 1, 8, 8)
    sigma = torch.tensor([0.01, 0.1, 1.0, 10.0])
    x = x0 + sigma[:, None, None, None] * noise
    denoiser = EDMDenoiser(Recorder(), sigma_data=0.25)
    target = denoiser.network_target(x, x0, sigma)
    denoiser.network.forward = lambda x, timesteps: target
    torch.testing.assert_close(denoiser(x, sigma), x0, atol=1e-5, rtol=0)


def test_epsilon_denoiser_recovers_the_image_from_the_exact_noise() -> None:
    """x_vp = sqrt(a) x0 + sqrt(1 - a) n at sigma = sqrt((1 - a) / a) has training's timestep and input."""
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    x0, noise = torch.rand(1, 1, 8, 8), torch.randn(1, 1, 8, 8)
    for t in (0, 3, 500, 999):
        alpha = float(scheduler.alphas_cumprod[t])
        sigma = math.sqrt((1 - alpha) / alpha)
        network = Recorder()
        network_forward = network.forward
        network.forward = lambda x, timesteps, run=network_forward: run(x, timesteps) + noise
        denoiser = EpsilonDenoiser(network, alphas_cumprod=scheduler.alphas_cumprod)
        torch.testing.assert_close(denoiser(x0 + sigma * noise, sigma), x0, atol=2e-5 * sigma + 1e-6, rtol=0)
        expected = scheduler.add_noise(original_samples=x0, noise=noise, timesteps=torch.tensor([t]))
        torch.testing.assert_close(network.x, expected, atol=1e-5, rtol=1e-4)
        assert float(network.timesteps) == pytest.approx(t, abs=2e-2)


def test_epsilon_denoiser_with_another_training_range() -> None:
    """A network trained on [-1, 1] as a prior on [0, 1]."""
    scheduler = DDPMScheduler(num_train_timesteps=100)
    x0, noise = torch.rand(1, 1, 8, 8), torch.randn(1, 1, 8, 8)
    network = Recorder()
    network.forward = lambda x, timesteps: noise
    denoiser = EpsilonDenoiser(network, alphas_cumprod=scheduler.alphas_cumprod, offset=-1.0, scale=2.0)
    torch.testing.assert_close(denoiser(x0 + 0.3 * noise, 0.3), x0, atol=1e-5, rtol=0)


def test_noise_level_outside_the_schedule_is_taken_at_its_end() -> None:
    network = Recorder()
    denoiser = EpsilonDenoiser(network, alphas_cumprod=DDPMScheduler(num_train_timesteps=10).alphas_cumprod)
    x = torch.zeros(1, 1, 4, 4)
    denoiser(x, 1e-6)
    assert float(network.timesteps) == 0
    denoiser(x, 1e6)
    assert float(network.timesteps) == 9


@pytest.mark.parametrize("alphas", [torch.tensor([0.5, 0.9]), torch.tensor([1.0, 0.5]), torch.rand(2, 2)])
def test_impossible_schedule_is_refused(alphas: torch.Tensor) -> None:
    with pytest.raises(InputError, match=r"alphas_cumprod: found .*, expected a decreasing"):
        EpsilonDenoiser(Recorder(), alphas_cumprod=alphas)


def test_wrong_number_of_noise_levels_is_refused() -> None:
    with pytest.raises(InputError, match="sigma: found 2 numbers, expected one, or one for each of 3 slices"):
        EDMDenoiser(Recorder(), sigma_data=0.3)(torch.zeros(3, 1, 4, 4), torch.ones(2))
    with pytest.raises(InputError, match=r"sigma_data: found .*, expected a positive"):
        EDMDenoiser(Recorder(), sigma_data=0.0)


def test_patch_network_keeps_the_shape_and_says_what_divides_it() -> None:
    network = small_network()
    assert EDMDenoiser(network, sigma_data=0.3).size_divisor == 4
    x = torch.rand(2, 1, 20, 12)
    assert network(x, timesteps=torch.ones(2)).shape == x.shape


def test_patch_network_sees_every_pixel_once() -> None:
    """The inner network gets a rearranged image, and its output is rearranged back."""
    inside = Recorder()
    network = PatchNetwork(inside, patch_size=2)
    assert network.size_divisor == 2
    inside.forward = lambda x, offset: (setattr(inside, "x", x), x + offset)[1]
    x = torch.rand(1, 1, 8, 8)
    torch.testing.assert_close(network(x, offset=3.0), x + 3)
    assert inside.x.shape == (1, 4, 4, 4)
    torch.testing.assert_close(inside.x[0, :, 0, 0], x[0, 0, :2, :2].flatten())


@pytest.mark.parametrize(
    ("settings", "message"), [({"patch_size": 0}, "at least 1"), ({"size_divisor": 3}, "multiple")]
)
def test_impossible_patches_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PatchNetwork(Recorder(), **settings)


def test_a_trained_patch_network_learns_to_denoise() -> None:
    """Gradients reach every weight: a few steps on one image reduce the loss."""
    torch.manual_seed(0)
    denoiser = EDMDenoiser(small_network(), sigma_data=0.3)
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=1e-2)
    clean = torch.zeros(8, 1, 16, 16)
    clean[:, :, 4:12, 4:12] = 0.8
    losses = []
    for _ in range(60):
        noisy = clean + 0.3 * torch.randn_like(clean)
        inputs, timesteps = denoiser.network_inputs(noisy, 0.3)
        loss = (
            (denoiser.network(inputs, timesteps=timesteps) - denoiser.network_target(noisy, clean, 0.3)).square().mean()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]


class GaussianScore(nn.Module):
    """The score of N(0.4, 0.3^2) with noise of sigma: -(x - 0.4) / (0.3^2 + sigma^2)."""

    size_divisor = 8

    def forward(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        self.sigma = sigma
        return -(x - 0.4) / (0.3**2 + sigma**2)[:, None, None, None]


def test_score_denoiser_gives_the_posterior_mean() -> None:
    """Known for a Gaussian prior: the mean of 0.4 and x, weighted by the inverse variances."""
    denoiser, x = ScoreDenoiser(GaussianScore()), torch.randn(3, 1, 8, 8)
    sigma = torch.tensor([0.02, 0.5, 100.0])
    share = (0.3**2 / (0.3**2 + sigma**2))[:, None, None, None]
    torch.testing.assert_close(denoiser(x, sigma), share * x + (1 - share) * 0.4)
    torch.testing.assert_close(denoiser(x[:1], 0.02), denoiser(x, sigma)[:1])
    assert denoiser.size_divisor == 8


def test_score_denoiser_asks_for_no_noise_level_that_was_not_trained() -> None:
    network, noise = GaussianScore(), torch.randn(1, 1, 4, 4)
    denoiser = ScoreDenoiser(network, sigma_min=0.1, sigma_max=2.0)
    for sigma, known in ((0.001, 0.1), (0.1, 0.1), (1.0, 1.0), (50.0, 2.0)):
        found = denoiser(noise, sigma)
        assert float(network.sigma) == pytest.approx(known)
        # the noise that it predicts at its nearest sigma, times the actual sigma
        torch.testing.assert_close(found, noise + sigma * known * network(noise, torch.tensor([known])))


def test_score_denoiser_refuses_levels_that_are_none() -> None:
    with pytest.raises(InputError, match=r"found 2.0, 1.0, expected 0 < minimum < maximum"):
        ScoreDenoiser(GaussianScore(), sigma_min=2.0, sigma_max=1.0)


def test_the_linear_schedule_is_that_of_monai_s_scheduler() -> None:
    expected = DDPMScheduler(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02).alphas_cumprod
    torch.testing.assert_close(linear_alphas_cumprod().float(), expected, rtol=1e-4, atol=0)


def test_a_label_says_the_distance_and_values_are_those_of_the_training() -> None:
    seen = []

    class Network(torch.nn.Module):
        in_channels = 3

        def forward(self, x, timesteps, labels):
            seen.append((x, labels))
            return torch.ones_like(x)

    denoiser = LabelledDenoiser(
        Network(), labels={"1": 1.0, "3": 3.0}, alphas_cumprod=linear_alphas_cumprod(), offset=-1.0, scale=2.0
    )
    plain = EpsilonDenoiser(
        lambda x, timesteps: torch.ones_like(x), alphas_cumprod=linear_alphas_cumprod(), offset=-1.0, scale=2.0
    )
    assert denoiser.in_channels == 4
    slices = torch.rand(4, 3, 8, 8)
    distances = torch.tensor([0.5, 1.5, 2.0, 7.5]).log()[:, None, None, None].expand(-1, 1, 8, 8)
    found = denoiser(torch.cat([slices, distances], 1), 0.1)
    assert torch.equal(seen[0][1], torch.tensor([1, 1, 3, 3]))
    torch.testing.assert_close(found, plain(slices, 0.1))
