# SPDX-License-Identifier: Apache-2.0
"""A long helix in slabs: which views each needs, one lattice for all, and seams that nobody sees."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from monai_iscs.classical import sirt
from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector
from monai_iscs.sampling import DDS, ConjugateGradient, Geometric, IndependentNoise, Recipe, SlerpNoise, Window
from monai_iscs.scans import MeasuredScan, Projections, slabs
from monai_iscs.scans.slabs import is_long, plan_slabs

FEED, AROUND = 40.0, 12  # mm and views of a turn
SCAN = MeasuredScan(spacing=(12.0, 12.0, 6.0), shape=(24, 24, 40), center=(0, 0, 0), unit_attenuation=1.0, slab=80.0)


def helix(sense: int = 1) -> ConeBeamGeometry:
    """Nine turns, 57.6 mm of the axis in each view."""
    angles = 2 * np.pi * np.arange(9 * AROUND) / AROUND
    circle = ConeBeamGeometry.circular(
        source_to_isocenter=600,
        source_to_detector=1000,
        angles=angles,
        detector_shape=(8, 32),
        detector_pitch=(12.0, 20.0),
    )
    up = sense * FEED * ((angles - angles.mean()) / (2 * np.pi))[:, None] * [0, 0, 1]
    return replace(circle, source=circle.source + up, detector=circle.detector + up)


@pytest.fixture(scope="module")
def scan():
    """A trunk with blobs in it, longer than the scan; noisy."""
    grid = Grid.centered((48, 48, 80), (6.0, 6.0, 6.0))
    x, y, z = (np.asarray(grid.affine)[k, 3] + np.arange(grid.shape[k]) * grid.spacing[k] for k in range(3))
    x, y, z = np.meshgrid(x, y, z, indexing="ij")
    trunk = 0.02 / (1 + np.exp((np.hypot(x / 120, y / 90) - 1) * 15))
    random = np.random.default_rng(0)
    for _ in range(40):
        away = [
            (axis - random.uniform(-reach, reach)) / random.uniform(12, 40)
            for axis, reach in ((x, 80), (y, 60), (z, 230))
        ]
        trunk += random.choice([-0.008, 0.004]) * np.exp(-sum(part**2 for part in away))
    geometry = helix()
    data = ConeBeamProjector(geometry, grid)(torch.from_numpy(trunk).float().clamp(min=0))
    noise = torch.randn(data.shape, generator=torch.Generator().manual_seed(0))
    return Projections(data=data + 0.01 * noise, geometry=geometry)


@pytest.fixture(scope="module")
def plan(scan):
    return plan_slabs(scan.geometry, scan, SCAN)


def placed(scan, views, grid):
    """The measurement of some views on a part of the lattice, and where that part is in it."""
    part = replace(scan, data=scan.data[views], geometry=scan.geometry.chosen(views))
    found = replace(SCAN, shape=grid.shape, center=grid.center, wide_enough=True).place(part)
    return found.measurement, found.region[2]


def blended(plan, parts):
    whole = torch.zeros(*plan.slabs[0].grid.shape[:2], plan.wanted.shape[2])
    for slab, part in zip(plan.slabs, parts, strict=True):
        whole[..., slice(*slab.slices)] += torch.from_numpy(slab.weights) * part
    return whole


def in_slabs_and_at_once(plan, scan, reconstruct):
    """Volumes by `reconstruct(measurement, first slice in the stack)`."""
    first = plan.region[2][0]

    def part(views, grid, start):
        measurement, (low, high) = placed(scan, views, grid)
        return reconstruct(measurement, first + start - low)[0][..., low:high]

    parts = [part(slab.views, slab.grid, slab.slices[0]) for slab in plan.slabs]
    every = np.unique(np.concatenate([slab.views for slab in plan.slabs]))
    grid = plan.stack.part([*((0, n) for n in plan.stack.shape[:2]), plan.region[2]])
    return blended(plan, parts), part(every, grid, 0)


def test_slabs_are_on_one_lattice_and_their_weights_add_up(plan):
    assert len(plan.slabs) == 3
    assert plan.wanted == Grid.centered(SCAN.shape, SCAN.spacing, center=SCAN.center)
    total = np.zeros(40)
    for slab in plan.slabs:
        total[slice(*slab.slices)] += slab.weights
        start = plan.region[2][0] + slab.slices[0]
        np.testing.assert_allclose(
            np.array(slab.grid.affine)[:3, 3], np.array(plan.stack.affine)[:3, 3] + [0, 0, 6 * start], atol=1e-9
        )
    np.testing.assert_allclose(total, 1, atol=1e-6)
    ends = [slab.slices for slab in plan.slabs]
    assert [before[1] - after[0] for before, after in itertools.pairwise(ends)] == [plan.overlap] * 2
    assert plan.overlap == math.ceil(57.6 / 2 / 6)
    assert [slab.own[1] for slab in plan.slabs[:-1]] == [slab.own[0] for slab in plan.slabs[1:]]


def test_views_of_a_slab_are_those_that_meet_it(plan, scan):
    for slab in plan.slabs:
        others = np.setdiff1d(np.arange(scan.geometry.views), slab.views)
        x, y, _ = np.meshgrid(*((np.arange(n) - (n - 1) / 2) for n in slab.grid.shape), indexing="ij")
        inside = torch.from_numpy((np.hypot(12 * x, 12 * y) < 140).astype(np.float32))
        met = ConeBeamProjector(scan.geometry, slab.grid)(inside).amax((1, 2))
        assert float(met[others].max()) == 0
        assert float((met[slab.views] > 0).float().mean()) > 0.9
        assert len(slab.views) < 0.75 * scan.geometry.views


def test_a_helix_that_falls_has_its_slabs_in_the_order_of_the_views(scan):
    falling = replace(scan, geometry=helix(-1))
    plan = plan_slabs(falling.geometry, falling, SCAN)
    first = [slab.views[0] for slab in plan.slabs]
    assert first == sorted(first)
    assert plan.slabs[0].slices[1] == 40


def test_least_squares_in_slabs_is_that_of_one_run(plan, scan):
    """To 0.2 HU inside, where water is 1,000."""
    slabs_, once = in_slabs_and_at_once(plan, scan, lambda m, _: sirt(m, iterations=40, rtol=0))
    away = (slabs_ - once).square().mean((0, 1)).sqrt() / 0.02 * 1000
    assert float(away[3:-3].max()) < 0.2
    assert float(away.max()) < 5
    assert float(once.max()) > 0.02


@pytest.mark.parametrize("noise", [SlerpNoise(), IndependentNoise()], ids=lambda noise: noise.label or "independent")
def test_a_sampler_has_no_seams(plan, scan, noise):
    """Slices at seams differ as those inside do: both by 1 % of what they do in one run with the noise of the stack."""
    smooth = {"kernel_size": 3, "stride": 1, "padding": 1, "count_include_pad": False}

    def prior(x, sigma):
        share = sigma**2 / (sigma**2 + 0.002**2)
        return (1 - share) * x + share * torch.nn.functional.avg_pool2d(x, **smooth)

    def reconstruct(measurement, first):
        recipe = Recipe(
            sigmas=Geometric(6, 0.005, 0.0005),
            consistency=DDS(solver=ConjugateGradient(iterations=10)),
            noise=Window(noise, first, plan.stack.shape[2]),
        )
        run = recipe.bind({"prior": prior}, measurement)
        for _ in run:
            pass
        return run.volume

    slabs_, once = in_slabs_and_at_once(plan, scan, reconstruct)
    change, usual = (volume.diff(dim=2).abs().mean((0, 1)) for volume in (slabs_, once))
    seam = torch.zeros(39, dtype=torch.bool)
    for slab in plan.slabs[1:]:
        seam[slab.slices[0] - 1 : slab.slices[0] + plan.overlap + 1] = True
    at, inside = (float((change / usual)[where].mean()) for where in (seam, ~seam))
    assert at == pytest.approx(inside, abs=0.01)
    assert at == pytest.approx(1, abs=0.02)
    away = (slabs_ - once).square().mean((0, 1)).sqrt() / 0.02 * 1000
    assert float(away.max()) < 5
    middle = plan.slabs[1]
    measurement, (low, high) = placed(scan, middle.views, middle.grid)
    other = reconstruct(measurement, 0)[0][..., low:high]  # with the noise of other slices
    shifted = (other - once[..., slice(*middle.slices)]).square().mean().sqrt() / 0.02 * 1000
    assert float(shifted) > 1.5 * float(away.max())


def test_slabs_as_long_as_the_budget_allows(scan, monkeypatch):
    automatic = replace(SCAN, slab=None)
    assert plan_slabs(scan.geometry, scan, automatic) is None
    monkeypatch.setattr(slabs, "BUDGET", slabs.BASE)
    most = plan_slabs(scan.geometry, scan, automatic)
    assert len(most.slabs) == 40 // 5
    three = plan_slabs(scan.geometry, scan, SCAN)
    rays, voxels = (max(len(slab.views) for slab in three.slabs) * 256, math.prod(three.stack.shape))
    monkeypatch.setattr(slabs, "BUDGET", slabs.BASE + slabs.BYTES_A_RAY * rays + slabs.BYTES_A_VOXEL * voxels)
    assert 2 <= len(plan_slabs(scan.geometry, scan, automatic).slabs) <= 3


def test_what_no_slabs_can_be_made_of():
    geometry = helix()
    assert is_long(geometry)
    assert not is_long(
        replace(geometry, source=geometry.source * [1, 1, 0.05], detector=geometry.detector * [1, 1, 0.05])
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"slab": 20.0}, "slab: found 20 mm, expected at least 30 mm"),
        ({"shape": (24, 24, 200)}, "that no view sees, expected fewer"),
    ],
)
def test_slabs_that_cannot_be(scan, change, said):
    with pytest.raises(InputError, match=said):
        plan_slabs(scan.geometry, scan, replace(SCAN, **change))


@pytest.mark.parametrize("slab", [0, -1.0, math.nan])
def test_a_length_is_positive(slab):
    with pytest.raises(InputError, match="slab: found"):
        MeasuredScan(spacing=1.0, slab=slab)
