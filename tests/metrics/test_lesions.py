# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.metrics import measure_lesions
from monai_iscs.transforms.lesions import Lesion, filled_share

SHAPE, SPACING = (24, 22, 20), (2.0, 2.5, 3.0)
LESIONS = [Lesion((20.0, 21.0, 22.0), 8.0, 0.1), Lesion((31.0, 40.0, 42.0), 12.0, -0.1)]


@pytest.fixture
def reference():
    return 0.4 + sum(lesion.contrast * filled_share(SHAPE, SPACING, lesion) for lesion in LESIONS)


@pytest.mark.parametrize("diameter", [4.0, 8.0, 12.0])
def test_a_sphere_has_its_volume(diameter):
    share = filled_share(SHAPE, SPACING, Lesion((20.3, 21.0, 30.1), diameter, 1.0))
    assert float(share.sum()) * math.prod(SPACING) == pytest.approx(math.pi * diameter**3 / 6, rel=0.03)
    assert 0 <= float(share.min()) <= float(share.max()) <= 1


def test_a_perfect_reconstruction_recovers_everything(reference):
    noisy = reference + 0.01 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    for found, lesion in zip(measure_lesions(noisy, reference, LESIONS, SPACING), LESIONS, strict=True):
        assert found["diameter"] == lesion.diameter
        assert found["contrast"] == pytest.approx(lesion.contrast, rel=1e-4)
        assert found["recovered"] == pytest.approx(1, abs=0.1)
        assert found["cnr"] == pytest.approx(abs(found["contrast"]) / 0.01, rel=0.4)


def test_a_flattened_and_an_inverted_lesion_are_told(reference):
    flat = torch.full(SHAPE, 0.4)
    assert all(abs(found["recovered"]) < 1e-5 for found in measure_lesions(flat, reference, LESIONS, SPACING))
    inverted = measure_lesions(0.8 - reference, reference, LESIONS, SPACING)
    assert [found["recovered"] for found in inverted] == [pytest.approx(-1, abs=1e-4)] * 2
    assert all(found["cnr"] < 0 for found in inverted)


def test_what_cannot_be_measured_is_refused(reference):
    with pytest.raises(InputError, match="expected the reference's"):
        measure_lesions(reference[1:], reference, LESIONS, SPACING)
    with pytest.raises(InputError, match=r"lesions: found one of 4 mm .* without voxels or shell"):
        measure_lesions(reference, reference, [Lesion((500.0, 21.2, 22.5), 4.0, 0.1)], SPACING)
