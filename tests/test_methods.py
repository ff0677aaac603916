# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from monai_iscs.errors import InputError
from monai_iscs.methods import BASELINES, INDEPENDENT, NOISES, SAMPLERS, Method, parse_method, parse_sampler
from monai_iscs.sampling import PAPER


@pytest.mark.parametrize(
    ("text", "name", "noise", "label"),
    [
        ("fdk", "fdk", None, "FDK"),
        ("cubic", "cubic", None, "Cubic"),
        ("admm-tv", "admm-tv", None, "ADMM-TV"),
        ("dds", "dds", "independent", "DDS"),
        ("dds+iscs", "dds", "iscs", "DDS+ISCS"),
        ("DDS+slerp", "dds", "iscs", "DDS+ISCS"),
        (" DDS+ISCS ", "dds", "iscs", "DDS+ISCS"),
        ("ddnm+identical", "ddnm", "identical", "DDNM+BCS"),
        ("dds+identical-steps", "dds", "identical-steps", "DDS+BCS (steps only)"),
        ("dds+noiseless", "dds", "noiseless", "DDS+noiseless"),
        ("dds+tv", "dds+tv", "independent", "DDS+TV"),
        ("dds-tv", "dds+tv", "independent", "DDS+TV"),
        ("dds+tv+slerp", "dds+tv", "iscs", "DDS+TV+ISCS"),
        ("dds-tv+iscs", "dds+tv", "iscs", "DDS+TV+ISCS"),
        ("diffusionblend", "diffusionblend", "independent", "DiffusionBlend"),
        ("tpdm+iscs", "tpdm", "iscs", "TPDM+ISCS"),
    ],
)
def test_a_method_is_a_sampler_and_a_noise_or_a_baseline(text, name, noise, label):
    method = parse_method(text)
    assert method == Method(name, noise)
    assert method.label == label


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ddd", "expected one of fdk, helical-fbp, sirt, admm-tv, cubic, or one of dds, ddnm, dds+tv"),
        ("", "expected one of fdk"),
        ("+iscs", "expected one of fdk"),
        (
            "dds+pink",
            "one noise of iscs, identical, identical-steps, kernel, adaptive, noiseless; without one it draws",
        ),
        ("dds+independent", "without one it draws independent noise"),
        ("dds+", "at most one noise"),
        ("dds+iscs+identical", "at most one noise"),
        ("dds+iscs+tv", "expected tv before the noise: dds+tv+iscs"),
        ("dds+tv+tv", "found 'dds+tv+tv'"),
        ("dds-tv+tv", "found 'dds-tv+tv'"),
        ("ddnm+tv", "expected tv with dds only"),
        ("tpdm+tv", "expected tv with dds only"),
        ("ddnm+iscs+tv", "expected tv before the noise: ddnm+tv+iscs"),
        ("fdk+iscs", "expected fdk alone: it draws no noise"),
        ("fdk+tv", "expected fdk alone"),
    ],
)
def test_other_names_are_refused_with_what_there_is(text, expected):
    with pytest.raises(InputError) as refused:
        parse_method(text)
    assert expected in str(refused.value)
    assert str(refused.value).startswith(f"method: found {text!r}")


def test_all_methods_have_labels_of_their_own():
    methods = [Method(name, noise) for name in SAMPLERS for noise in (INDEPENDENT, *NOISES)]
    methods += [Method(name) for name in BASELINES]
    assert len({method.label for method in methods}) == len(methods)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("noise", [INDEPENDENT, *NOISES])
def test_the_text_of_a_method_is_read_as_it_and_its_label_is_the_recipe_s(name, noise):
    method = Method(name, noise)
    assert parse_method(method.text) == method
    assert PAPER.method(method.text).label == method.label


def test_a_recipe_has_samplers_only():
    with pytest.raises(InputError, match="found 'fdk', expected one of dds, ddnm, dds"):
        parse_sampler("fdk")
