# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from torch.nn.functional import pad

from monai_iscs.errors import InputError
from monai_iscs.transforms import (
    RestoreSignal,
    RestoreSignald,
    RestoreSignalDict,
    ScaleByRobustMaximum,
    ScaleByRobustMaximumd,
    ScaleByRobustMaximumDict,
    robust_maximum,
)


@pytest.fixture
def head() -> MetaTensor:
    """A ball of signal 500 to 700 in air, with a vessel of 3000."""
    x, y, z = torch.meshgrid(*(torch.linspace(-1, 1, 40),) * 3, indexing="ij")
    signal = torch.where(x**2 + y**2 + z**2 < 0.7, 600 + 100 * x, torch.zeros(()))
    signal[20, 20, 15:25] = 3000
    return MetaTensor(signal[None], meta={"filename_or_obj": "head.nii.gz"})


def test_a_vessel_does_not_move_it(head):
    assert 650 < robust_maximum(head) < 700


def test_air_hardly_moves_it(head):
    assert robust_maximum(pad(head.as_tensor(), (30,) * 6)) == pytest.approx(robust_maximum(head), rel=0.01)


def test_scaling_keeps_what_is_above_one_and_can_be_undone(head):
    scaled = ScaleByRobustMaximum()(head)
    assert float(scaled.max()) > 4
    assert robust_maximum(scaled) == pytest.approx(1)
    assert scaled.meta["robust_maximum"] == pytest.approx(robust_maximum(head))
    torch.testing.assert_close(RestoreSignal()(scaled).as_tensor(), head.as_tensor())
    assert "robust_maximum" not in head.meta


def test_one_image_decides_for_all(head):
    scaled = ScaleByRobustMaximumd(["image", "label"], by="image")({"image": head, "label": 7 * head})
    torch.testing.assert_close(scaled["label"].as_tensor(), 7 * scaled["image"].as_tensor())
    back = RestoreSignald("label")(scaled)
    torch.testing.assert_close(back["label"].as_tensor(), 7 * head.as_tensor())
    assert ScaleByRobustMaximumDict is ScaleByRobustMaximumd
    assert RestoreSignalDict is RestoreSignald


def test_an_image_that_was_never_scaled(head):
    with pytest.raises(InputError, match=r'head\.nii\.gz: found no meta\["robust_maximum"\]'):
        RestoreSignal()(head)


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_no_signal(value):
    with pytest.raises(InputError, match="no signal above 0"):
        robust_maximum(torch.full((1, 4, 4, 4), value))
