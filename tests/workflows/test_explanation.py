# SPDX-License-Identifier: Apache-2.0
"""What the measurement supplied, and how well each view is fitted."""

from __future__ import annotations

import json
import math

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_iscs.cli import main
from monai_iscs.scans import Measurement
from monai_iscs.workflows.explanation import Fit, fit_of_views
from monai_iscs.workflows.pipeline import Measured


def test_explained_by_the_command(bundle, body, phantom, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        "monai_iscs.workflows.one_input.three_view_figure",
        lambda *given, maps, **_: (drawn.update(maps), given[-1].touch()),
    )
    out = tmp_path / "out"
    given = ["reconstruct", str(body), "--bundle", str(bundle), "--output", str(out)]
    assert main([*given, "--explain"]) == 0
    image = nib.load(out / "filled_in.nii.gz")
    assert image.shape == phantom.shape
    share = image.get_fdata()
    assert share.min() >= 0
    assert share.max() <= 1
    assert 0.02 < share.mean() < 0.6
    assert list(drawn) == ["filled in"]
    record = json.loads((out / "run.json").read_text())
    assert len(record["residual_of_each_view"]) == len(record["chi_square_of_each_view"]) == 6
    assert "filled_in.nii.gz" in record["files"]
    assert main(given) == 0
    assert not (out / "filled_in.nii.gz").exists()


def test_thick_slices_explained(mri, thin, tmp_path, monkeypatch):
    monkeypatch.setattr("monai_iscs.workflows.one_input.three_view_figure", lambda *given, **_: given[-1].touch())
    out = tmp_path / "out"
    given = ["reconstruct", str(thin), "--bundle", str(mri), "--factor=4", "--method=cubic", "--explain"]
    assert main([*given, "--output", str(out)]) == 0
    share = nib.load(out / "filled_in.nii.gz").get_fdata()
    assert 0 < share.mean() < 0.5
    assert "chi_square_of_each_view" not in json.loads((out / "run.json").read_text())


@pytest.fixture
def measured(cone_beam):
    """``measured(level, weights)``: projections of a ball with that noise, and the ball."""
    A = cone_beam((16, 16, 6), 4.0, views=5)
    x, y, z = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in (16, 16, 6)), indexing="ij")
    ball = ((x**2 + y**2 + z**2) < 0.5).float()[None]

    def make(level, *, known=None, weights=None):
        clean = A(ball)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
        measurement = Measurement(
            clean + level * noise, A, noise_level=level if known is None else known, weights=weights
        )
        return Measured(measurement, MetaTensor(measurement.data), None), MetaTensor(ball)

    return make


def test_noise_has_a_chi_square_of_one(measured):
    found = fit_of_views(*reversed(measured(0.1)))
    count = measured(0.1)[0].measurement.data[0, 0].numel()
    np.testing.assert_allclose(found.chi_squares, 1, atol=5 * (2 / count) ** 0.5)
    assert len(found.residuals) == 5
    assert found.notes() == []


def test_without_noise_there_is_none(measured):
    found = fit_of_views(*reversed(measured(0.0)))
    assert found.chi_squares is None
    assert found.notes() == []


@pytest.mark.parametrize(("known", "expected"), [(0.02, 25.0), (0.5, 0.04)])
def test_a_wrong_noise_level_is_told(measured, known, expected):
    found = fit_of_views(*reversed(measured(0.1, known=known)))
    assert np.mean(found.chi_squares) == pytest.approx(expected, rel=0.2)
    (note,) = found.notes()
    assert "in 5 of 5 views, expected about 1" in note


def test_only_what_counts_is_compared(measured):
    weights = torch.ones(measured(0.1)[0].measurement.operator.range_shape)
    weights[0, :2] = 0.0
    weights[3] = 0.0
    scan, ball = measured(0.1, weights=weights)
    found = fit_of_views(ball, scan)
    assert math.isnan(found.chi_squares[3])
    others = [value for view, value in enumerate(found.chi_squares) if view != 3]
    np.testing.assert_allclose(others, 1, atol=0.5)
    assert found.notes() == []


def test_the_worst_view_is_named():
    (note,) = Fit([0.1] * 3, [1.0, 9.0, 0.3]).notes()
    assert Fit([0.1] * 3, [1.0, 0.9, 0.3]).notes(stops=False) == []
    assert "9 times" in Fit([0.1] * 3, [1.0, 9.0, 0.3]).notes(stops=False)[0]
    assert "9 times the noise's in view 1" in note
    assert "in 2 of 3 views" in note
