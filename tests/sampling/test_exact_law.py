# SPDX-License-Identifier: Apache-2.0
"""With a Gaussian prior the denoiser is linear, so the law of the sampler's output has a closed form, which
the loop must follow.

Volumes here are (R, S, H, W): their slices are along axis 0, and the R channels are independent repetitions of one
experiment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from monai_iscs.operators import ForeignOperator
from monai_iscs.sampling import (
    DDS,
    ConjugateGradient,
    DDIMRule,
    DDSRule,
    IdenticalNoise,
    IndependentNoise,
    KernelNoise,
    Matern,
    NoNoise,
    PartialNoise,
    Rule,
    SlerpNoise,
    geometric_sigmas,
)
from monai_iscs.scans import Measurement

HEIGHT, WIDTH = 2, 2
PIXELS = HEIGHT * WIDTH


def to_rows(volume: Tensor) -> Tensor:
    """(R, S, H, W) to (R, S * H * W)."""
    return volume.flatten(1)


@dataclass(frozen=True)
class GaussianPrior:
    """Slices that are N(mean, covariance), mean (pixels,), covariance (pixels, pixels)."""

    mean: Tensor
    covariance: Tensor

    def gain(self, sigma: float) -> Tensor:
        """The matrix W of the posterior mean D(x, sigma) = mean + W (x - mean)."""
        eye = torch.eye(len(self.mean), dtype=self.mean.dtype)
        return self.covariance @ torch.linalg.inv(self.covariance + sigma**2 * eye)

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        centred = x.flatten(2) - self.mean.float()
        return (self.mean.float() + centred @ self.gain(sigma).float().T).view_as(x)

    def draw(self, slices: int, repetitions: int) -> Tensor:
        noise = torch.randn(slices, repetitions, len(self.mean), generator=torch.Generator().manual_seed(7))
        rows = self.mean.float() + noise @ torch.linalg.cholesky(self.covariance).float().T
        return rows.view(slices, repetitions, HEIGHT, WIDTH).movedim(0, 1).contiguous()


def propagate(
    prior: GaussianPrior,
    consistency: Callable[[float], tuple[Tensor, Tensor]],
    correlation: Tensor,
    sigmas: Sequence[float],
    rule: Rule,
    start_mean: Tensor,
    start_covariance: Tensor,
) -> tuple[Tensor, Tensor]:
    """Mean (S * pixels,) and covariance of the sampler's output, in float64.

    Args:
        prior: with the denoiser.
        consistency: from sigma to the matrix G and the vector h of x0_hat = G x0 + h, both over S * pixels.
        correlation: of the noise between slices, (S, S).
        sigmas: of the sampler.
        rule: re-noising rule.
        start_mean: of the start without noise.
        start_covariance: of the start without noise.
    """
    noise = torch.kron(correlation.double(), torch.eye(PIXELS, dtype=torch.float64))
    slices, levels = len(correlation), [float(sigma) for sigma in sigmas]
    mean, covariance = start_mean, start_covariance + levels[0] ** 2 * noise
    prior_mean = prior.mean.repeat(slices)
    for index, sigma in enumerate(levels):
        gain = torch.kron(torch.eye(slices, dtype=torch.float64), prior.gain(sigma))
        offset = prior_mean - gain @ prior_mean
        G, h = consistency(sigma)
        estimate, estimate_offset = G @ gain, G @ offset + h
        if index == len(levels) - 1:
            return estimate @ mean + estimate_offset, estimate @ covariance @ estimate.T
        k = rule.share(sigma, levels[index + 1])
        kept = levels[index + 1] / sigma * (1 - k**2) ** 0.5
        step = estimate + kept * (torch.eye(len(mean), dtype=torch.float64) - gain)
        mean = step @ mean + estimate_offset - kept * offset
        covariance = step @ covariance @ step.T + (levels[index + 1] * k) ** 2 * noise
    raise AssertionError("no sigma")


def largest_deviation(volume: Tensor, mean: Tensor, covariance: Tensor) -> float:
    """Largest deviation of the sample mean and covariance of (R, S, H, W) from the law, in standard errors."""
    rows = to_rows(volume).double()
    count = len(rows)
    variances = covariance.diagonal()
    mean_error = (rows.mean(0) - mean).abs() / (variances / count).sqrt()
    covariance_error = (torch.cov(rows.T) - covariance).abs()
    covariance_error /= ((variances[:, None] * variances + covariance**2) / count).sqrt()
    return float(torch.maximum(mean_error.max(), covariance_error.max()))


@dataclass(frozen=True)
class GaussianWorld:
    """A prior, a scanner of the whole volume, and a measurement of it."""

    prior: GaussianPrior
    matrix: Tensor
    measurement: Tensor
    slices: int

    def measured(self, repetitions: int) -> Measurement:
        """The same measurement of each repetition."""
        matrix, shape = self.matrix.float(), (self.slices, HEIGHT, WIDTH)
        operator = ForeignOperator(
            (lambda x: x.flatten(1) @ matrix.T, lambda y: (y @ matrix).view(-1, *shape)),
            domain_shape=shape,
            range_shape=(len(matrix),),
            batched=True,
        )
        return Measurement(self.measurement.float().repeat(repetitions, 1), operator)

    def proximal(self, gamma: float) -> tuple[Tensor, Tensor]:
        """G = (gamma AᵀA + I)⁻¹ and h = G gamma Aᵀy, Eq. 16."""
        eye = torch.eye(self.matrix.shape[1], dtype=torch.float64)
        G = torch.linalg.inv(gamma * self.matrix.T @ self.matrix + eye)
        return G, G @ (gamma * self.matrix.T @ self.measurement)


@pytest.fixture
def world() -> GaussianWorld:
    """Four slices of 2 x 2 pixels, seven measured sums that mix all of them."""
    slices = 4
    generator = torch.Generator().manual_seed(3)
    root = torch.randn(PIXELS, PIXELS, generator=generator, dtype=torch.float64)
    prior = GaussianPrior(
        mean=torch.tensor([0.2, -0.1, 0.5, 0.3], dtype=torch.float64),
        covariance=0.25 * (root @ root.T / PIXELS + 0.2 * torch.eye(PIXELS, dtype=torch.float64)),
    )
    matrix = torch.randn(7, slices * PIXELS, generator=generator, dtype=torch.float64) / 3
    truth = to_rows(prior.draw(slices, 1)).double()[0]
    return GaussianWorld(prior=prior, matrix=matrix, measurement=matrix @ truth, slices=slices)


def slerp_correlation(slices: int, degrees: float) -> Tensor:
    position = torch.linspace(0, math.radians(degrees), slices, dtype=torch.float64)
    return (position[:, None] - position).cos()


SLICES = 4
NOISES = {
    "independent": (IndependentNoise(), torch.eye(SLICES)),
    "identical": (IdenticalNoise(), torch.ones(SLICES, SLICES)),
    "slerp": (SlerpNoise(anchor_angle=70), slerp_correlation(SLICES, 70)),
    "a share of slerp": (PartialNoise(SlerpNoise(anchor_angle=70), 0.6), 0.36 * slerp_correlation(SLICES, 70)),
}
RULES = [DDSRule(0.0), DDSRule(0.6), DDSRule(1.0), DDIMRule(0.0), DDIMRule(0.6), DDIMRule(1.0)]
REPETITIONS = 10_000


def unchanged(x0: Tensor, sigma: float) -> Tensor:
    return x0


def identity(size: int) -> tuple[Tensor, Tensor]:
    return torch.eye(size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("noise", NOISES)
def test_without_a_measurement_the_loop_follows_its_law(world, walk, rule, noise):
    noise, correlation = NOISES[noise]
    sigmas = geometric_sigmas(6, sigma_max=3, sigma_min=0.05)
    start = world.prior.draw(SLICES, REPETITIONS)
    found = walk(world.prior, unchanged, noise, sigmas, start, rule=rule, seed=11)
    own = torch.kron(torch.eye(SLICES, dtype=torch.float64), world.prior.covariance)
    law = propagate(
        world.prior, lambda _: identity(len(own)), correlation, sigmas, rule, world.prior.mean.repeat(SLICES), own
    )
    assert largest_deviation(found, *law) < 5


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("noise", NOISES)
def test_with_a_converged_linear_consistency_the_loop_follows_its_law(world, walk, rule, noise):
    noise, correlation = NOISES[noise]
    sigmas = geometric_sigmas(6, sigma_max=3, sigma_min=0.05)
    dds = DDS(solver=ConjugateGradient(iterations=12), gamma=4.0).bind(world.measured(REPETITIONS), 0)
    start = torch.zeros(REPETITIONS, SLICES, HEIGHT, WIDTH)
    found = walk(world.prior, dds, noise, sigmas, start, rule=rule, seed=11)
    size = SLICES * PIXELS
    law = propagate(
        world.prior,
        lambda _: world.proximal(4.0),
        correlation,
        sigmas,
        rule,
        torch.zeros(size, dtype=torch.float64),
        torch.zeros(size, size, dtype=torch.float64),
    )
    assert largest_deviation(found, *law) < 5


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_without_noise_the_result_is_the_mean_of_all_results_with_noise(world, walk, rule):
    # exact for a linear prior: what is injected adds its variance to the error and nothing else
    sigmas = geometric_sigmas(6, sigma_max=3, sigma_min=0.05)
    dds = DDS(solver=ConjugateGradient(iterations=40), gamma=4.0).bind(world.measured(1), 0)
    found = walk(world.prior, dds, NoNoise(), sigmas, torch.zeros(1, SLICES, HEIGHT, WIDTH), rule=rule, seed=11)
    size = SLICES * PIXELS
    zeros = torch.zeros(size, dtype=torch.float64)
    mean, covariance = propagate(
        world.prior, lambda _: world.proximal(4.0), torch.eye(SLICES), sigmas, rule, zeros, zeros.diag()
    )
    assert covariance.trace() > 0.01
    torch.testing.assert_close(to_rows(found)[0].double(), mean, atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    ("rule", "correlation"), [(DDSRule(0.9), NOISES["slerp"][1]), (DDSRule(0.6), torch.eye(SLICES))]
)
def test_a_wrong_law_is_noticed(world, walk, rule, correlation):
    # the comparison is sensitive: another rule or noise is many standard errors away
    sigmas = geometric_sigmas(6, sigma_max=3, sigma_min=0.05)
    start = world.prior.draw(SLICES, REPETITIONS)
    found = walk(world.prior, unchanged, NOISES["slerp"][0], sigmas, start, rule=DDSRule(0.6), seed=11)
    own = torch.kron(torch.eye(SLICES, dtype=torch.float64), world.prior.covariance)
    mean = world.prior.mean.repeat(SLICES)
    law = propagate(world.prior, lambda _: identity(len(own)), correlation, sigmas, rule, mean, own)
    assert largest_deviation(found, *law) > 8


def kept_variance(prior: GaussianPrior, steps: int, rule: Rule) -> Tensor:
    """Share of the prior's variance that the sampler keeps without a measurement, along the prior's eigenvectors."""
    sigmas = geometric_sigmas(steps, sigma_max=50, sigma_min=1e-3)
    eye = torch.ones(1, 1)
    _, covariance = propagate(prior, lambda _: identity(PIXELS), eye, sigmas, rule, prior.mean, prior.covariance)
    _, vectors = torch.linalg.eigh(prior.covariance)
    return (vectors.T @ covariance @ vectors).diagonal() / (vectors.T @ prior.covariance @ vectors).diagonal()


@pytest.mark.parametrize("eta", [0.0, 0.3, 0.7, 1.0])
def test_the_ddim_rule_reproduces_the_prior(world, eta):
    errors = [(kept_variance(world.prior, steps, DDIMRule(eta)) - 1).abs().max() for steps in (50, 200, 800)]
    assert errors[2] < 0.02
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


@pytest.mark.parametrize("k", [0.2, 0.5, 0.85, 1.0])
def test_the_dds_rule_keeps_a_known_share_of_the_variance(world, k):
    expected = (1 + math.sqrt(1 - k**2)) / 2
    torch.testing.assert_close(
        kept_variance(world.prior, 1500, DDSRule(k)), torch.full((PIXELS,), expected).double(), atol=0.01, rtol=0
    )


def slicewise(world: GaussianWorld) -> GaussianWorld:
    """With a scanner that sees each slice alone, as parallel beams do."""
    matrix = torch.kron(torch.eye(SLICES, dtype=torch.float64), world.matrix[:3, :PIXELS])
    measurement = torch.linspace(-1, 1, len(matrix), dtype=torch.float64)
    return GaussianWorld(prior=world.prior, matrix=matrix, measurement=measurement, slices=SLICES)


@pytest.mark.parametrize("noise", [SlerpNoise(), *(KernelNoise(Matern(mm)) for mm in (2.0, 50.0))], ids=str)
def test_a_scanner_of_single_slices_does_not_feel_their_correlation(world, walk, noise):
    # each slice follows the law of independent noise, whatever the correlation; only their differences change
    whole = slicewise(world)
    sigmas, rule = geometric_sigmas(6, sigma_max=3, sigma_min=0.05), DDSRule(0.6)
    zero = torch.zeros(SLICES * PIXELS, SLICES * PIXELS, dtype=torch.float64)
    mean, covariance = propagate(
        world.prior, lambda _: whole.proximal(4.0), torch.eye(SLICES), sigmas, rule, zero[0], zero
    )
    dds = DDS(solver=ConjugateGradient(iterations=12), gamma=4.0).bind(whole.measured(REPETITIONS), 0)
    found = walk(world.prior, dds, noise, sigmas, torch.zeros(REPETITIONS, SLICES, HEIGHT, WIDTH), rule=rule, seed=11)
    for index in range(SLICES):
        own = slice(index * PIXELS, (index + 1) * PIXELS)
        assert largest_deviation(found[:, index : index + 1], mean[own], covariance[own, own]) < 5
    assert largest_deviation(found, mean, covariance) > 8


def test_truncated_conjugate_gradients_come_near_the_law_of_converged_ones(world, walk, own_steps, capsys):
    # truncated conjugate gradients are not linear, so there is no closed form: the distance is measured. The operator
    # works in each slice, so that each repetition can have its own step lengths.
    whole = slicewise(world)
    shape, matrix = (SLICES, HEIGHT, WIDTH), world.matrix[:3, :PIXELS].float()
    operator = ForeignOperator(
        (lambda x: x.flatten(2) @ matrix.T, lambda y: (y @ matrix).view(-1, *shape)),
        domain_shape=shape,
        range_shape=(SLICES, 3),
        batched=True,
    )
    measurement = Measurement(whole.measurement.float().view(SLICES, 3).repeat(REPETITIONS, 1, 1), operator)
    noise, correlation = NOISES["slerp"]
    sigmas, rule, gamma, size = geometric_sigmas(6, sigma_max=3, sigma_min=0.05), DDSRule(0.6), 30.0, SLICES * PIXELS
    zero = torch.zeros(size, size, dtype=torch.float64)
    mean, covariance = propagate(world.prior, lambda _: whole.proximal(gamma), correlation, sigmas, rule, zero[0], zero)
    distances = {}
    for iterations in (1, 2, 3, 4):
        dds = DDS(solver=own_steps(iterations), gamma=gamma).bind(measurement, 0)
        start = torch.zeros(REPETITIONS, *shape)
        rows = to_rows(walk(world.prior, dds, noise, sigmas, start, rule=rule, seed=11)).double()
        mean_distance = (rows.mean(0) - mean).norm() / mean.norm()
        distances[iterations] = float(mean_distance), float((torch.cov(rows.T) - covariance).norm() / covariance.norm())
    with capsys.disabled():
        print("\ntruncated CG: distance (mean, covariance) from the converged law, relative, by iterations:", end="")
        print(*(f" {count}: ({a:.3f}, {b:.3f})" for count, (a, b) in distances.items()))
    assert distances[1][0] < 1
    assert distances[1][1] < 2
    assert distances[1][0] > 3 * distances[4][0]
    assert max(distances[4]) < 0.03
