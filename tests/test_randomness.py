# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from itertools import product

import pytest
import torch
from scipy import stats

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import SliceAveraging
from monai_iscs.randomness import PURPOSES, random_stream
from monai_iscs.sampling import IdenticalNoise, IndependentNoise, SlerpNoise
from monai_iscs.scans import GaussianNoise
from monai_iscs.schedulers import ISCSScheduler
from monai_iscs.transforms import SimulateMeasurement

SEEDS = (0, 1, 2, 3, 2**31, 2**32, 2**32 + 1, 2**64, 10**30)


def first_draws(seed: int, purpose: str, count: int = 8) -> tuple[float, ...]:
    return tuple(torch.randn(count, generator=random_stream(seed, purpose)).tolist())


def test_no_two_seeds_or_purposes_give_the_same_numbers():
    cases = [*product(SEEDS, PURPOSES), *product(range(4, 300), PURPOSES)]
    draws = {first_draws(seed, purpose) for seed, purpose in cases}
    assert len(draws) == len(cases)
    plain = {tuple(torch.randn(8, generator=torch.Generator().manual_seed(seed)).tolist()) for seed in range(300)}
    assert not draws & plain  # nor those of a user's generator, or of PyTorch's after `manual_seed`


def test_purposes_can_never_meet():
    """The seed for PyTorch contains the purpose, for any seed."""
    for purpose, number in PURPOSES.items():
        words = [random_stream(seed, purpose).initial_seed() for seed in (*SEEDS, *range(300))]
        assert {word % 8 for word in words} == {number}
        assert max(words) < 2**32


def test_a_stream_stays_what_it_is():
    """Results of a seed are reproducible: neither a new purpose nor another version may change them."""
    assert PURPOSES["measurement"] == 0
    assert PURPOSES["noise"] == 1
    for purpose, word in (("measurement", 1019069104), ("noise", 3182061593)):
        assert random_stream(7, purpose).initial_seed() == word


@pytest.mark.parametrize("purpose", PURPOSES)
def test_streams_are_standard_normal_and_independent(purpose):
    def draw(seed, purpose):
        return torch.randn(100_000, generator=random_stream(seed, purpose))

    draws = torch.stack([draw(seed, purpose) for seed in range(6)])
    others = torch.stack([draw(seed, other) for seed in range(6) for other in PURPOSES if other != purpose])
    for row in draws:
        assert stats.kstest(row.numpy(), "norm").pvalue > 1e-4
    between = torch.corrcoef(torch.cat([draws, others])) - torch.eye(len(draws) + len(others))
    assert between.abs().max() < 5 / 100_000**0.5


@pytest.mark.parametrize("seed", [-1, 1.0, True, None, "0"])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(InputError, match=r"seed: found .*, expected a whole number of at least 0"):
        random_stream(seed, "noise")
    with pytest.raises(InputError, match="seed: found"):
        SimulateMeasurement(SliceAveraging((2, 2, 4), factor=2), noise_std=1.0, seed=seed)


@pytest.mark.parametrize("make", [IndependentNoise, IdenticalNoise, SlerpNoise])
@pytest.mark.parametrize("settings", [{"noise_std": 1.0}, {"noise": GaussianNoise(1.0)}], ids=["std", "relative"])
def test_a_measurement_s_noise_is_never_a_sampler_s(make, settings):
    """Measurement and stack of the same shape: they once were the same numbers bit for bit, for any first draw."""
    volume = torch.ones(1, 32, 32, 4)
    volume[..., 0, 0] = 1.5  # the robust maximum of bright voxels
    operator = SliceAveraging(volume.shape[1:], factor=2)
    clean = operator(volume)
    count = clean.numel()
    measured = []
    for seed in range(4):
        noise = (SimulateMeasurement(operator, seed=seed, **settings)(volume).as_tensor() - clean).flatten()
        measured.append(noise / noise.std())
    grid = Grid.centered((1, count, 1), (1.0, 1.0, 1.0))
    drawn = [make().bind(grid, 2, random_stream(seed, "noise"))(1.0).flatten() for seed in range(4)]
    between = torch.corrcoef(torch.stack([*measured, *drawn]))[:4, 4:]
    assert between.abs().max() < 5 / count**0.5


def test_a_scheduler_s_noise_is_not_that_of_a_global_seed():
    torch.manual_seed(0)
    like = torch.randn(4, 1, 16, 16)
    scheduler = ISCSScheduler(noise=IndependentNoise(), seed=0)
    assert torch.corrcoef(torch.stack([like.flatten(), scheduler.start(like).flatten()]))[0, 1].abs() < 5 / 32


def test_every_member_of_an_ensemble_has_its_own_numbers():
    words = [random_stream(seed, "noise", member).initial_seed() for seed in range(30) for member in range(30)]
    assert len(set(words)) == len(words)
    assert {word % 8 for word in words} == {PURPOSES["noise"]}
    assert random_stream(7, "noise", 0).initial_seed() == random_stream(7, "noise").initial_seed()
