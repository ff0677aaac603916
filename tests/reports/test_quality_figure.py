# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from monai_iscs.errors import InputError
from monai_iscs.reports import quality_figure
from monai_iscs.reports.benchmark import kept_contrasts


def lesion(diameter, inserted, recovered):
    return {"diameter": diameter, "inserted": inserted, "contrast": inserted, "recovered": recovered, "cnr": 1.0}


LESIONS = [
    *(lesion(8.0, 100.0, 0.9), lesion(4.0, 40.0, 0.2), lesion(4.0, -40.0, 0.4), lesion(8.0, -40.00001, 0.7)),
    lesion(4.0, -100.0, 0.5),
]


def quality(level):
    return {
        "noise_power": {"frequency": [0.0, 0.1, 0.2], "power": [0.0, 300 * level, 100 * level]},
        "modulation": {"frequency": [0.0, 0.2], "mtf": [1.0, 0.5 / level]},
        "ring_correlation": {"frequency": [0.0, 0.1, 0.2], "below": [0.0, 0.1, 0.6], "limit": 0.125},
        "lesions": LESIONS,
    }


def test_the_kept_contrast_is_a_mean_over_places_and_signs():
    kept = kept_contrasts(LESIONS)
    assert list(kept) == [(40.0, 4.0), (40.0, 8.0), (100.0, 4.0), (100.0, 8.0)]
    assert [mean for mean, _ in kept.values()] == pytest.approx([0.3, 0.7, 0.5, 0.9])
    assert [error for _, error in kept.values()] == pytest.approx([0.1, 0, 0, 0])


def test_every_method_has_a_line_in_every_panel(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    quality_figure({"FDK": quality(2), "DDS": quality(1)}, tmp_path / "quality.png")
    (figure,) = drawn
    assert len(figure.axes) == 5
    for axis in figure.axes:
        labels = axis.get_legend_handles_labels()[1]
        assert labels == ["FDK", "DDS"]
    noise, _, _, weak, strong = figure.axes
    assert noise.get_lines()[0].get_ydata().tolist() == [600, 200]
    for axis, contrast, shares in ((weak, 40, [0.3, 0.7]), (strong, 100, [0.5, 0.9])):
        assert f"±{contrast} HU" in axis.get_title()
        assert axis.get_lines()[0].get_ydata() == pytest.approx(shares)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["FDK", "DDS"]


def test_nothing_to_draw_is_refused(tmp_path):
    with pytest.raises(InputError, match="found none, expected at least one method to draw"):
        quality_figure({}, tmp_path / "quality.png")
