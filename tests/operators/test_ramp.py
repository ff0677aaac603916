# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector, RampFilter


@pytest.mark.parametrize(("row", "column"), [(1, 0), (0, 2), (3, -1), (2, 1), (5, 4), (6, 0)])
def test_a_wave_is_multiplied_by_its_frequency_up_to_the_cutoff(row, column):
    shape, steps, cutoff = (12, 10, 3), (2.0, 1.5), 0.6
    ramp = RampFilter(shape, spacing=dict(enumerate(steps)), cutoff=cutoff)
    x, y = torch.arange(12.0, dtype=torch.float64), torch.arange(10.0, dtype=torch.float64)
    wave = torch.cos(2 * math.pi * (row * x[:, None] / 12 + column * y / 10) + 0.3)
    volume = wave[..., None] * torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    frequency = math.hypot(row / (12 * steps[0]), column / (10 * steps[1]))  # per mm
    gain = min(frequency / (cutoff * 0.5 / max(steps)), 1)
    torch.testing.assert_close(ramp(volume), gain * volume)


@pytest.mark.parametrize("steps", [(1.0, 1.0), (1.0, 3.0)])
def test_a_constant_passes_as_the_mean_over_its_cell(steps):
    ramp = RampFilter((8, 6), spacing=dict(enumerate(steps)), cutoff=1.0)
    cell = [(np.arange(400) + 0.5) / 400 / (2 * size * step) for size, step in zip((8, 6), steps, strict=True)]
    mean = np.hypot(*np.meshgrid(*cell)).mean() * 2 * max(steps)
    torch.testing.assert_close(ramp(torch.ones(8, 6)), torch.full((8, 6), float(mean)), rtol=1e-5, atol=0)


@pytest.mark.parametrize(("shape", "axes"), [((5, 4), (0, 1)), ((4, 2, 5), (0, 2)), ((2, 3, 4), (2, 1))])
def test_it_is_symmetric_and_positive(shape, axes):
    size = math.prod(shape)
    ramp = RampFilter(shape, spacing={axes[0]: 1.0, axes[1]: 1.3}, cutoff=0.7)
    matrix = ramp(torch.eye(size, dtype=torch.float64).reshape(size, *shape)).reshape(size, size)
    torch.testing.assert_close(matrix, matrix.T)
    assert torch.linalg.eigvalsh(matrix).min() > 0


@pytest.mark.parametrize("shape", [(5, 4), (4, 2, 5), (6, 3)])
def test_regularised_is_an_inverse(shape):
    axes = (0, len(shape) - 1)
    size = math.prod(shape)
    ramp = RampFilter(shape, spacing={axes[0]: 1.0, axes[1]: 1.3}, cutoff=0.7)
    unit = torch.eye(size, dtype=torch.float64).reshape(size, *shape)
    inverse = torch.linalg.inv(ramp(unit).reshape(size, size))
    expected = torch.linalg.inv(torch.eye(size, dtype=torch.float64) + 0.3 * inverse)
    torch.testing.assert_close(ramp.regularised(unit, 0.3).reshape(size, size), expected)
    torch.testing.assert_close(inverse.diagonal(), torch.full_like(inverse.diagonal(), ramp.mean_inverse))


def test_it_makes_up_for_the_blur_of_backprojection():
    grid = Grid.centered((48, 48, 3), (1.0, 1.0, 1.0))
    geometry = ConeBeamGeometry.circular(
        source_to_isocenter=4000.0,
        source_to_detector=4100.0,
        detector_shape=(3, 96),
        detector_pitch=(1.0, 1.0),
        views=180,
    )
    A = ConeBeamProjector(geometry, grid)
    x, y = torch.meshgrid(torch.arange(48.0) - 20, torch.arange(48.0) - 27, indexing="ij")
    spots = torch.exp(-(x**2 + y**2) / 8) - torch.exp(-((x - 9) ** 2 + (y + 6) ** 2) / 18)
    volume = spots[..., None].expand(48, 48, 3).contiguous()
    blurred = A.normal(volume)
    sharp = RampFilter(A.domain_shape, spacing=A.orbit_plane, cutoff=1.0)(blurred)

    def likeness(found):
        found, expected = (part[12:-12, 12:-12, 1].flatten() for part in (found, volume))
        return float(torch.corrcoef(torch.stack([found, expected]))[0, 1])

    assert likeness(sharp) > 0.98
    assert likeness(blurred) < 0.93


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cutoff": 0.0}, "cutoff: found 0.0"),
        ({"cutoff": math.nan}, "cutoff: found nan"),
        ({"spacing": {0: 1.0}}, r"spacing: found the axes \[0\]"),
        ({"spacing": {0: 1.0, 3: 1.0}}, r"spacing: found the axes \[0, 3\]"),
        ({"spacing": {0: 1.0, 1: 0.0}}, r"spacing: found \(1.0, 0.0\)"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        RampFilter((4, 4, 4), **({"spacing": {0: 1.0, 1: 1.0}, "cutoff": 1.0} | settings))
