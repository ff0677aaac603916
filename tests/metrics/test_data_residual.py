# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor, list_data_collate

from monai_iscs.errors import InputError
from monai_iscs.metrics import DataResidual, data_residual
from monai_iscs.operators import SliceAveraging
from monai_iscs.scans import Measurement
from monai_iscs.scans.meta import to_meta_tensor


def thick(volume: torch.Tensor) -> torch.Tensor:
    """A scanner that averages pairs of axial slices."""
    return volume.unflatten(-1, (-1, 2)).mean(-1)


def test_by_hand(reconstruction, reference):
    y = thick(reference[None])
    expected = (thick(reconstruction[None]) - y).norm() / y.norm()
    assert data_residual(reconstruction[None], y, thick) == pytest.approx(float(expected), rel=1e-5)
    assert data_residual(MetaTensor(reconstruction[None]), MetaTensor(y), thick) == pytest.approx(float(expected))
    assert data_residual(reference[None], y, thick) == 0
    assert data_residual(torch.zeros_like(reference)[None], y, thick) == 1


def test_metric_accumulates(reconstruction, reference):
    x = torch.stack([reconstruction, reference])[:, None]
    y = torch.stack([thick(reference), thick(reference)])[:, None]
    metric = DataResidual(thick)
    for i in range(2):
        metric(x[i : i + 1], y[i : i + 1])
    one = data_residual(reconstruction[None], y[0], thick)
    assert float(metric.aggregate()) == pytest.approx(one / 2)
    metric.reset()
    metric(x, y)
    assert float(metric.aggregate()) == pytest.approx(one / 2)


def test_each_measurement_knows_its_own_operator(reconstruction, reference):
    operator = SliceAveraging(reference.shape, factor=2)
    tensors = [to_meta_tensor(Measurement(scale * operator(reference)[None], scale * operator)) for scale in (1, 3)]
    batch = list_data_collate(tensors)
    metric = DataResidual()
    metric(torch.stack([reconstruction, reference])[:, None], batch)
    one = data_residual(reconstruction[None], tensors[0], operator)
    assert float(metric.aggregate()) == pytest.approx(one / 2, rel=1e-5)
    with pytest.raises(InputError, match="found nothing in meta"):
        DataResidual()(reference[None, None], operator(reference)[None, None])


def test_what_does_not_fit(reference):
    y = thick(reference[None])
    with pytest.raises(InputError, match=r"found shape \(1, 20, 24, 7\), expected \(1, 20, 24, 8\)"):
        data_residual(reference[None], y[..., 1:], thick)
    for value in (0.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="measurement: found a norm of"):
            data_residual(reference[None], torch.full_like(y, value), thick)
    with pytest.raises(InputError, match="y: found none measurements for 1 volumes"):
        DataResidual(thick)(reference[None, None])
