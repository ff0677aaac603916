# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv

import pytest
import torch
from monai.data import MetaTensor

from monai_iscs.errors import InputError
from monai_iscs.inferers import SliceDiffusionInferer
from monai_iscs.metrics import data_residual, summarise
from monai_iscs.operators import ForeignOperator
from monai_iscs.priors import NonNegative, SlicePrior
from monai_iscs.reports import StepRecorder
from monai_iscs.sampling import Geometric, Recipe, State, Zeros

SHAPE, MEASURED = (12, 14, 16), (12, 7, 16)  # the scanner averages pairs along y


def shrink(x, sigma):
    return 0.3 + 0.01 / (0.01 + sigma**2) * (x - 0.3)


shrink.size_divisor = 8


@pytest.fixture
def operator():
    def average(x):
        return x.unflatten(1, (-1, 2)).mean(2)

    def spread(y):
        return y.repeat_interleave(2, 1) / 2

    return ForeignOperator((average, spread), domain_shape=SHAPE, range_shape=MEASURED)


@pytest.fixture
def volume():
    return 0.3 + 0.1 * torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(3))


def test_the_last_record_is_the_result(operator, volume, tmp_path):
    measurement = operator(volume)
    recipe = Recipe(start=Zeros(), sigmas=Geometric(3, 1.0, 0.25), prior=NonNegative(SlicePrior(1)))
    recorder = StepRecorder(
        reference=MetaTensor(volume),
        operator=operator,
        measurement=MetaTensor(measurement),
        slice_axis=recipe.prior.axis,
        lower_bound=recipe.prior.lower_bound,
    )
    inferer = SliceDiffusionInferer(recipe, scan=operator, progress=False, callback=recorder)
    result = inferer(measurement[None], shrink)[0]
    assert [record["step"] for record in recorder.records] == [1, 2, 3]
    assert [record["sigma"] for record in recorder.records] == pytest.approx([1.0, 0.5, 0.25])
    summary, last = summarise(result, volume, slice_axis=1), recorder.records[-1]
    for view in ("axial", "coronal", "sagittal"):
        for measure in ("psnr", "ssim", "lpips"):
            assert last[f"{view}_{measure}"] == summary[view][measure]
    assert last["slice_difference"] == summary["slice_difference"]["reconstruction"]
    assert last["slice_gap"] == summary["slice_difference"]["gap"]
    assert last["data_residual"] == data_residual(result, measurement, operator)
    assert recorder.records[0]["data_residual"] != last["data_residual"]

    recorder.write(tmp_path / "steps.csv")
    with (tmp_path / "steps.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["sigma"]) for row in rows] == [record["sigma"] for record in recorder.records]
    assert float(rows[-1]["axial_psnr"]) == last["axial_psnr"]
    assert rows[-1]["axial_lpips"] == ""

    inferer(measurement[None], shrink)
    assert len(recorder.records) == 3  # a new run, a new record


def test_without_a_reference_only_what_needs_none(volume):
    recorder = StepRecorder()
    recorder(State(0, 0.5, volume, volume, None))
    (record,) = recorder.records
    known = {key for key, value in record.items() if value is not None}
    assert known == {"step", "sigma", "slice_difference"}


def test_half_of_a_scan(operator, tmp_path):
    with pytest.raises(InputError, match="measurement: found none, expected operator and measurement"):
        StepRecorder(operator=operator)
    with pytest.raises(InputError, match="operator: found none, expected operator and measurement"):
        StepRecorder(measurement=torch.zeros(1, *MEASURED))
    with pytest.raises(InputError, match=r"steps\.csv: found no steps to write"):
        StepRecorder().write(tmp_path / "steps.csv")
