# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from monai_iscs.errors import InputError
from monai_iscs.reports import quality_figure
from monai_iscs.reports.benchmark import lesion_means


def lesion(diameter, inserted, recovered, cnr=1.0):
    return {"diameter": diameter, "inserted": inserted, "contrast": inserted, "recovered": recovered, "cnr": cnr}


LESIONS = [
    *(lesion(8.0, 100.0, 0.9, 3.0), lesion(4.0, 40.0, 0.2), lesion(4.0, -40.0, 0.4), lesion(8.0, -40.00001, 0.7)),
    lesion(4.0, -100.0, 0.5, 2.0),
]


def quality(level):
    return {
        "noise_power": {"frequency": [0.0, 0.1, 0.2], "power": [0.0, 300 * level, 100 * level]},
        "modulation": {"frequency": [0.0, 0.2], "mtf": [1.0, 0.5 / level]},
        "ring_correlation": {"frequency": [0.0, 0.1, 0.2], "below": [0.0, 0.1, 0.6], "limit": 0.125},
        "lesions": LESIONS,
    }


def test_the_kept_contrast_is_a_mean_over_places_and_signs():
    kept = lesion_means(LESIONS)
    assert list(kept) == [(40.0, 4.0), (40.0, 8.0), (100.0, 4.0), (100.0, 8.0)]
    assert [mean for mean, _ in kept.values()] == pytest.approx([0.3, 0.7, 0.5, 0.9])
    assert [error for _, error in kept.values()] == pytest.approx([0.1, 0, 0, 0])


def test_every_method_has_a_line_in_every_panel(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    quality_figure({"FDK": quality(2), "DDS": quality(1)}, tmp_path / "quality.png")
    (figure,) = drawn
    assert len(figure.axes) == 7
    for axis in figure.axes:
        labels = axis.get_legend_handles_labels()[1]
        assert labels == ["FDK", "DDS"]
    axes = {axis.get_title(): axis for axis in figure.axes}
    noise = axes["noise power of the error in soft tissue"]
    weak, strong = (axes[f"contrast kept, ±{contrast} HU"] for contrast in (40, 100))
    detected = axes["contrast-to-noise, ±100 HU"]
    assert noise.get_lines()[0].get_ydata().tolist() == [600, 200]
    for axis, shares in ((weak, [0.3, 0.7]), (strong, [0.5, 0.9])):
        assert axis.get_lines()[0].get_ydata() == pytest.approx(shares)
    assert detected.get_lines()[0].get_ydata() == pytest.approx([2, 3])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["FDK", "DDS"]


def test_nothing_to_draw_is_refused(tmp_path):
    with pytest.raises(InputError, match="found none, expected at least one method to draw"):
        quality_figure({}, tmp_path / "quality.png")
