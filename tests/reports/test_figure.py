# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import matplotlib.image
import numpy as np
import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.metrics import summarise
from monai_iscs.reports import ColouredMap, psnr_curve, three_view_figure
from monai_iscs.reports.figure import _centre, _slice

SPACING = (1.0, 1.0, 3.0)


@pytest.fixture
def patient() -> torch.Tensor:
    """HU: a body of water in air with bright marks at its right, front and head."""
    hu = torch.full((40, 30, 12), -1000.0)
    hu[5:35, 5:25] = 0
    hu[30:35, 14:16, 5:7] = 1000  # right: in RAS x grows to the right
    hu[19:21, 20:25, 5:7] = 1000  # anterior
    hu[19:21, 14:16, 10:] = 1000  # head
    return hu


def test_radiological_orientation(patient):
    centre = _centre(patient.numpy(), -300)
    rows, columns = np.nonzero(_slice(patient.numpy(), "axial", centre[2]) > 500)
    assert columns.min() == 5  # the patient's right at the left
    assert rows.min() == 5  # anterior on top
    assert rows.max() < 16
    rows, columns = np.nonzero(_slice(patient.numpy(), "coronal", centre[1]) > 500)
    assert rows.min() == 0  # the head on top
    assert columns.min() == 5
    rows, columns = np.nonzero(_slice(patient.numpy(), "sagittal", centre[0]) > 500)
    assert rows.min() == 0
    assert columns.min() == 5  # anterior at the left


def test_the_slices_go_through_the_patient(patient):
    shifted = torch.full((80, 60, 12), -1000.0)
    shifted[40:, :30] = patient
    assert _centre(shifted.numpy(), -300)[:2] == pytest.approx([59.5, 14.5], abs=1)
    assert _centre(np.full((4, 6, 8), -1000.0), -300) == [2, 3, 4]


@pytest.mark.parametrize("with_reference", [True, False])
def test_figure_shows_the_window(patient, tmp_path, with_reference):
    noisy = patient + 20 * torch.randn(patient.shape, generator=torch.Generator().manual_seed(0))
    reference = patient[None] if with_reference else None
    metrics = {"DDS": summarise(noisy, patient)}
    three_view_figure(
        {"FDK": noisy * 2, "DDS": noisy}, reference, SPACING, tmp_path / "a.png", metrics=metrics, title="patient"
    )
    image = matplotlib.image.imread(tmp_path / "a.png")[..., :3]
    assert image.shape[1] > (1000 if with_reference else 600)
    assert image.shape[0] > 500
    np.testing.assert_array_equal(image[0, 0], 0)
    # 0 HU in the window -160 to 240 is 40 % grey; only the error panel has colours
    grey = np.abs(image - 0.4).max(-1) < 0.02
    assert grey.mean() > (0.02 if with_reference else 0.002)
    coloured = np.ptp(image[:, -image.shape[1] // 5 :], axis=-1) > 0.3
    assert (coloured.mean() > 0.01) == with_reference


def test_volumes_on_different_grids(patient, tmp_path):
    with pytest.raises(InputError, match=r"volumes: found shapes .*expected one grid"):
        three_view_figure({"a": patient[1:]}, patient, SPACING, tmp_path / "a.png")
    with pytest.raises(InputError, match="volumes: found none"):
        three_view_figure({}, patient, SPACING, tmp_path / "a.png")
    with pytest.raises(InputError, match="expected one volume"):
        three_view_figure({"a": torch.stack([patient, patient])}, None, SPACING, tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


def test_psnr_curve(patient, tmp_path):
    psnr_curve({"near": patient + 10, "far": patient + 50}, patient, SPACING, tmp_path / "curve.png")
    image = matplotlib.image.imread(tmp_path / "curve.png")[..., :3]
    assert (np.ptp(image, axis=-1) > 0.3).mean() > 0.002  # two coloured lines


def test_maps_have_columns_and_scales_of_their_own(patient, tmp_path):
    """A map of ones fills its panels with the last colour; of zeros, with the first."""
    widths, panels = [], []
    for name, maps in {
        "none": {},
        "two": {"ones": ColouredMap(torch.ones(40, 30, 12), "share", 1.0), "zeros": ColouredMap(patient * 0, "HU")},
    }.items():
        path = tmp_path / f"{name}.png"
        three_view_figure({"result": patient}, patient, SPACING, path, maps=maps)
        image = matplotlib.image.imread(path)[..., :3]
        widths.append(image.shape[1])
        panels.append(image)
    assert widths[1] > 1.5 * widths[0]
    last = np.array(matplotlib.colormaps["inferno"](1.0)[:3])
    share = (np.abs(panels[1] - last).max(-1) < 0.02).mean()
    assert share > 0.1
    assert (np.abs(panels[0] - last).max(-1) < 0.02).mean() < 0.01
    with pytest.raises(InputError, match="expected one grid"):
        three_view_figure({"a": patient}, None, SPACING, path, maps={"b": ColouredMap(patient[1:], "HU")})
