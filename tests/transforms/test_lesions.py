# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import math

import pytest
import torch
from monai.data import MetaTensor

from monai_iscs.errors import InputError
from monai_iscs.metrics.lesions import measure_lesions
from monai_iscs.transforms.lesions import InsertLesions

SETTINGS = {"diameters": (4.0, 8.0), "contrasts": (0.02, -0.02), "tissue": (0.35, 0.45), "repeats": 2}


@pytest.fixture
def body():
    x, y, _ = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in (40, 36, 30)), indexing="ij")
    values = torch.where(x**2 + y**2 < 0.8, 0.4, 0.0)
    values[(x - 0.2) ** 2 + y**2 < 0.02] = 0.9  # bone
    return MetaTensor(values[None].float(), affine=torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0])))


def test_lesions_lie_in_tissue_apart_from_each_other(body):
    with_lesions, lesions = InsertLesions(**SETTINGS)(body)
    assert sorted((lesion.diameter, lesion.contrast) for lesion in lesions) == sorted(
        itertools.chain.from_iterable([pair] * 2 for pair in itertools.product((4.0, 8.0), (0.02, -0.02)))
    )
    for a, b in itertools.combinations(lesions, 2):
        assert math.dist(a.centre, b.centre) > (a.diameter + b.diameter) / 2 + 4
    changed = (with_lesions - body).abs() > 0
    assert 0 < int(changed.sum()) < 2000
    assert float(body[changed].min()) == pytest.approx(0.4)
    spacing = (2.0, 2.0, 3.0)
    found = measure_lesions(with_lesions[0].as_tensor(), with_lesions[0].as_tensor(), lesions, spacing)
    assert all(measured["recovered"] == pytest.approx(1) for measured in found)
    assert torch.equal(with_lesions.affine, body.affine)


def test_places_depend_on_the_seed_alone(body):
    first, again = InsertLesions(**SETTINGS)(body)[1], InsertLesions(**SETTINGS)(body)[1]
    assert first == again
    assert first != InsertLesions(**SETTINGS, seed=1)(body)[1]


def test_a_volume_without_room_is_refused(body):
    with pytest.raises(InputError, match="found room for"):
        InsertLesions(**(SETTINGS | {"repeats": 400}))(body)
    with pytest.raises(InputError, match="found room for 0 lesions"):
        InsertLesions(**(SETTINGS | {"tissue": (2.0, 3.0)}))(body)
