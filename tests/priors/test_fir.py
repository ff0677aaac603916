# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from monai_iscs.priors.fir import FIRDownsample, FIRSmooth, FIRUpsample, doubled, halved, smoothed


def filtered(x: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
    """The definition, sample by sample: output n is the sum of taps[k] x[n + k - 2] along each axis, zero outside."""
    for axis in (-2, -1):
        size = x.shape[axis]
        matrix = torch.zeros(size + 1, size)
        for n in range(size + 1):
            for k, tap in enumerate((1, 3, 3, 1)):
                if 0 <= n + k - 2 < size:
                    matrix[n, n + k - 2] = gain * tap / 8
        x = torch.tensordot(x, matrix, dims=([axis], [1])).movedim(-1, axis)
    return x


def test_smoothing_is_the_definition() -> None:
    x = torch.randn(2, 3, 6, 10)
    torch.testing.assert_close(FIRSmooth()(x), filtered(x))


def test_downsampling_takes_every_other_filtered_sample() -> None:
    x = torch.randn(2, 3, 6, 10)
    torch.testing.assert_close(FIRDownsample()(x), filtered(x)[..., 1::2, 1::2])


def test_upsampling_filters_samples_between_zeros() -> None:
    x = torch.randn(2, 3, 5, 4)
    sparse = torch.zeros(2, 3, 10, 8)
    sparse[..., ::2, ::2] = x
    torch.testing.assert_close(FIRUpsample()(x), filtered(sparse, gain=2)[..., :-1, :-1])


@pytest.mark.parametrize(
    ("convolution", "sums"), [(FIRDownsample(), halved), (FIRUpsample(), doubled), (FIRSmooth(), smoothed)]
)
def test_the_sums_for_cuda_are_the_convolutions(convolution: torch.nn.Module, sums: Callable) -> None:
    x = torch.randn(2, 3, 12, 8)
    torch.testing.assert_close(sums(sums(x, 2), 3), convolution(x))


@pytest.mark.parametrize(("resample", "inside"), [(FIRDownsample(), 1), (FIRUpsample(), 1), (FIRSmooth(), 2)])
def test_what_is_constant_stays_so_inside(resample: torch.nn.Module, inside: int) -> None:
    out = resample(torch.ones(1, 2, 8, 8))
    torch.testing.assert_close(
        out[..., inside:-inside, inside:-inside], torch.ones_like(out)[..., inside:-inside, inside:-inside]
    )


def test_the_filter_is_no_weight_and_follows_the_network() -> None:
    network = FIRDownsample()
    assert not list(network.parameters())
    assert not network.state_dict()
    assert network.double()(torch.ones(1, 1, 4, 4, dtype=torch.float64)).dtype == torch.float64
