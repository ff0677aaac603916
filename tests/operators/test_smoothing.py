# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from monai_iscs.errors import InputError
from monai_iscs.operators import GaussianSmoothing


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_it_is_the_gaussian_filter_with_mirrored_ends(axis):
    x = torch.rand(2, 9, 8, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = GaussianSmoothing((9, 8, 7), std=1.3, axis=axis)(x)
    expected = gaussian_filter1d(x.numpy(), 1.3, axis=axis + 1, mode="reflect", truncate=6)
    torch.testing.assert_close(found, torch.from_numpy(expected), atol=1e-3, rtol=0)  # scipy samples the Gaussian


def test_it_is_symmetric_positive_and_keeps_constants():
    smooth = GaussianSmoothing((6, 2), std=0.7, axis=0)
    matrix = smooth(torch.eye(12, dtype=torch.float64).reshape(12, 6, 2)).reshape(12, 12)
    torch.testing.assert_close(matrix, matrix.T)
    assert torch.linalg.eigvalsh(matrix).min() > 0
    torch.testing.assert_close(smooth(torch.full((6, 2), 0.3)), torch.full((6, 2), 0.3))


def test_its_matrix_is_converted_once_for_each_type(monkeypatch):
    smooth = GaussianSmoothing((6, 2), std=0.7, axis=0)
    x = torch.rand(6, 2, generator=torch.Generator().manual_seed(0))
    conversions, convert = [], torch.Tensor.to
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "to", lambda *given: conversions.append(given[1:]) or convert(*given))
        results = [smooth(x), smooth(x), smooth(x.double())]
    assert len(conversions) == 2  # one for each type of x
    assert [result.dtype for result in results] == [torch.float32, torch.float32, torch.float64]
    assert torch.equal(results[0], results[1])


@pytest.mark.parametrize(("settings", "message"), [({"std": 0.0}, "std: found 0.0"), ({"axis": 2}, "axis: found 2")])
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        GaussianSmoothing((6, 2), **({"std": 1.0, "axis": 0} | settings))
