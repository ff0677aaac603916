# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.inferers import DiffusionInferer
from monai.networks.nets import DiffusionModelUNet

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.randomness import random_stream
from monai_iscs.sampling import DDIMRule, DDSRule, IndependentNoise, Plugs, SlerpNoise, StagedNoise, sample
from monai_iscs.schedulers import ISCSScheduler

STEPS = [1, 2, 3, 7, 10, 50, 300, 600]
RULES = [DDIMRule(0.0), DDIMRule(0.5), DDIMRule(1.0), DDSRule(0.85)]


@pytest.fixture
def truth():
    return torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Oracle:
    """A network that knows the clean stack: it predicts exactly the scheduler's prediction type."""

    def __init__(self, scheduler, truth):
        self.alphas = scheduler.alphas_cumprod.double()
        self.kind = scheduler.prediction_type
        self.truth = truth

    def __call__(self, x, timesteps, context=None):
        alpha = float(self.alphas[int(timesteps)])
        noise = (x - alpha**0.5 * self.truth) / (1 - alpha) ** 0.5
        velocity = alpha**0.5 * noise - (1 - alpha) ** 0.5 * self.truth
        return {"epsilon": noise, "sample": self.truth, "v_prediction": velocity}[self.kind]


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_an_exact_network_leaves_no_error_for_any_number_of_steps(truth, steps, rule):
    scheduler = ISCSScheduler(rule=rule)
    scheduler.set_timesteps(steps)
    oracle = Oracle(scheduler, truth)
    found = DiffusionInferer(scheduler).sample(scheduler.start(truth), oracle, verbose=False)
    assert (found - truth).abs().max() < 1e-4


@pytest.mark.parametrize("steps", STEPS)
def test_a_constant_noise_prediction_is_carried_to_the_end(truth, steps):
    # eta = 0 and a network that always predicts the noise of the start: any difference between the sigmas of the
    # network and those of the step would add up (MONAI's DDIMScheduler: 0.69 at 10 steps)
    scheduler = ISCSScheduler(rule=DDIMRule(0.0))
    scheduler.set_timesteps(steps)
    noise = scheduler.start(truth)
    x = scheduler.add_noise(truth, noise, scheduler.timesteps[:1].expand(len(truth)))
    found = DiffusionInferer(scheduler).sample(x, lambda x, timesteps, context=None: noise, verbose=False)
    assert (found - truth).square().mean().sqrt() < 1e-4  # float32 at a sigma of 157


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("schedule", ["linear_beta", "scaled_linear_beta", "cosine", "sigmoid_beta"])
def test_prediction_types_and_schedules(truth, prediction_type, schedule):
    scheduler = ISCSScheduler(schedule=schedule, prediction_type=prediction_type)
    scheduler.set_timesteps(20)
    oracle = Oracle(scheduler, truth)
    found = DiffusionInferer(scheduler).sample(scheduler.start(truth), oracle, verbose=False)
    assert (found - truth).abs().max() < 1e-4


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_it_is_the_sampling_loop_seen_from_a_variance_preserving_network(truth, rule):
    scheduler = ISCSScheduler(rule=rule, seed=1)
    scheduler.set_timesteps(9)
    alphas = scheduler.alphas_cumprod.double()[scheduler.timesteps]
    sigmas = ((1 - alphas) / alphas).sqrt()
    timestep_of = dict(zip(sigmas.float().tolist(), scheduler.timesteps.tolist(), strict=True))

    def network(x, timesteps, context=None):
        return torch.tanh(x) * (0.5 + float(timesteps) / 2000)

    def denoiser(x, sigma):
        return x - sigma * network(x / (1 + sigma**2) ** 0.5, timestep_of[sigma])

    # the variance preserving start is pure noise; the loop's start is that noise at its first sigma
    first = scheduler.start(truth)
    found = DiffusionInferer(scheduler).sample(first, network, verbose=False)
    noise = SlerpNoise().bind(Grid.centered((4, 8, 8), (1, 1, 1)), 0, random_stream(1, "noise"))
    # its slices are along the volume's first axis
    start = (1 / float(alphas[0]) ** 0.5 - float(sigmas[0])) * first.movedim(0, 1)

    def prior(x, sigma):
        return denoiser(x.movedim(1, 0), sigma).movedim(0, 1)

    *_, last = sample(Plugs(lambda: start, prior, lambda x0, sigma: x0, noise, rule.bind()), sigmas.float())
    expected = last.x0_hat.movedim(1, 0)
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-4)


def sample_stack(noise, slices=12, seed=0):
    torch.manual_seed(0)
    network = DiffusionModelUNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=1,
        channels=(8, 16),
        attention_levels=(False, False),
        num_res_blocks=1,
        num_head_channels=8,
        norm_num_groups=4,
    ).eval()
    scheduler = ISCSScheduler(noise=noise, seed=seed)
    scheduler.set_timesteps(5)
    start = scheduler.start(torch.empty(slices, 1, 16, 16))
    return DiffusionInferer(scheduler).sample(start, network, verbose=False)


def test_slerp_noise_makes_neighbouring_slices_agree():
    def difference(stack):
        return float((stack[1:] - stack[:-1]).abs().mean() / stack.std())

    assert difference(sample_stack(SlerpNoise())) < 0.3 * difference(sample_stack(IndependentNoise()))


@pytest.mark.parametrize("noise", [SlerpNoise(), IndependentNoise(), StagedNoise(IndependentNoise(), SlerpNoise())])
def test_same_seed_same_stack(noise):
    assert torch.equal(sample_stack(noise, seed=4), sample_stack(noise, seed=4))
    assert not torch.equal(sample_stack(noise, seed=4), sample_stack(noise, seed=5))


def test_set_timesteps_starts_the_noise_anew(truth):
    scheduler = ISCSScheduler(seed=2)
    oracle = Oracle(scheduler, 0 * truth)

    def run():
        return [scheduler.start(truth), scheduler.step(oracle(truth, 999), 999, truth)[0]]

    first, second = run(), run()
    assert not torch.equal(first[0], second[0])
    scheduler.set_timesteps(1000)
    assert all(torch.equal(a, b) for a, b in zip(first, run(), strict=True))


def test_momentum_is_refused():
    with pytest.raises(InputError, match=r"rule: found a momentum of 0\.4, expected none"):
        ISCSScheduler(rule=DDSRule(momentum=0.4))


def test_half_precision_training_does_not_spoil_the_levels(truth):
    scheduler = ISCSScheduler()
    scheduler.set_timesteps(5)
    oracle = Oracle(scheduler, truth)
    scheduler.add_noise(truth.half(), truth.half(), torch.zeros(4, dtype=torch.long))
    found = DiffusionInferer(scheduler).sample(scheduler.start(truth), oracle, verbose=False)
    assert (found - truth).abs().max() < 1e-4


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_impossible_numbers_of_steps_are_refused(steps):
    with pytest.raises(InputError, match=f"num_inference_steps: found {steps}"):
        ISCSScheduler().set_timesteps(steps)


def test_unknown_timesteps_and_prediction_types_are_refused(truth):
    scheduler = ISCSScheduler()
    scheduler.set_timesteps(3)
    with pytest.raises(InputError, match="timestep: found 17"):
        scheduler.step(truth, 17, truth)
    with pytest.raises(InputError, match="'noise', expected one of epsilon, sample, v_prediction"):
        ISCSScheduler(prediction_type="noise")
