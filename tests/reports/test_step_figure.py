# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import matplotlib.image
import numpy as np
import pytest

from monai_iscs.errors import InputError
from monai_iscs.reports import step_curves
from monai_iscs.reports.step_figure import PANELS


def _records(steps: int, **known: float) -> list[dict[str, float | None]]:
    """Records whose known numbers decrease with the steps."""
    nothing = dict.fromkeys(PANELS)
    return [
        {"step": i + 1, "sigma": 2.0**-i, **nothing, **{key: value / (i + 1) for key, value in known.items()}}
        for i in range(steps)
    ]


def test_two_methods_with_different_steps(tmp_path):
    known = {"axial_psnr": 30.0, "coronal_psnr": float("inf"), "slice_gap": -0.01, "data_residual": 0.1}
    path = tmp_path / "steps.png"
    step_curves({"DDS": _records(4, **known), "DDS+ISCS": _records(7, axial_psnr=33.0)}, path)
    image = matplotlib.image.imread(path)[..., :3]
    assert image.shape[0] < image.shape[1]  # the three panels that have numbers: one row
    assert (np.ptp(image, axis=-1) > 0.3).mean() > 0.002  # coloured lines
    full = _records(3, **dict.fromkeys(PANELS, 0.5))
    step_curves({"DDS": full}, path)
    assert matplotlib.image.imread(path).shape[0] > 2 * image.shape[0]


def test_nothing_to_draw(tmp_path):
    with pytest.raises(InputError, match=r"found no numbers of \[\], expected some to draw"):
        step_curves({}, tmp_path / "a.png")
    with pytest.raises(InputError, match=r"found \['DDS'\] without steps"):
        step_curves({"DDS": []}, tmp_path / "a.png")
    with pytest.raises(InputError, match=r"found no numbers of \['DDS'\]"):
        step_curves({"DDS": _records(2)}, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
