# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from monai_iscs.methods import parse_method
from monai_iscs.workflows.names import CHOICES
from monai_iscs.workflows.pipeline import Pipeline


@pytest.fixture(scope="module")
def pipeline(bundle):
    return Pipeline(bundle, device="cpu", network=False, overrides={"preset": "released"})


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("dds", {"name": "DDS", "iterations": 10, "gamma": None, "smoothing": 0.0, "rtol": 0.0}),
        ("ddnm", {"name": "DDNM", "iterations": 100, "rtol": 1e-3, "smoothing": 0.0, "pseudo_inverse": None}),
        ("dds-tv", {"name": "DDSTV", "iterations": 10, "lam": 0.003, "rho": 0.3, "admm_iterations": 1}),
    ],
)
def test_every_setting_in_effect_is_recorded_defaults_included(pipeline, method, expected):
    sampler = pipeline.settings(pipeline.sampler(parse_method(method)))["sampler"]
    assert json.loads(json.dumps(sampler)) == sampler
    assert expected.items() <= sampler["consistency"].items()
    assert (sampler["preset"], sampler["slice_axis"], sampler["anchor_angle"]) == ("released", 2, None)


def test_settings_are_the_same_in_every_process(mri):
    """A function's address is not: a benchmark would find none of its cells again."""
    level = {"_target_": "monai_iscs.sampling.geometric_sigmas", "_mode_": "callable", "sigma_max": 3}
    pipeline = Pipeline(mri, device="cpu", network=False, overrides={"factor": 5, "seed": 0, "noise_std": 0.02})
    settings = pipeline.settings(pipeline.sampler(parse_method("dds"), changes={"noise_level": level}))
    assert " at 0x" not in json.dumps(settings, default=str)
    assert settings["sampler"]["consistency"]["noise_level"] == {"name": "geometric_sigmas", "sigma_max": 3}


def test_what_was_given_goes_before_the_defaults(pipeline):
    noise = {**CHOICES["noise"]["iscs"], "anchor_angle": 45}
    sampler = pipeline.settings(pipeline.sampler(parse_method("ddnm"), changes={"noise": noise}, rtol=0.01))["sampler"]
    assert (sampler["noise"], sampler["anchor_angle"]) == ("SlerpNoise", 45)
    assert sampler["consistency"]["rtol"] == 0.01


@pytest.mark.parametrize("name", CHOICES["baseline"])
def test_every_baseline_is_a_function_of_the_baselines(name):
    assert CHOICES["baseline"][name]["_target_"].startswith("monai_iscs.classical.")


@pytest.mark.parametrize(
    ("method", "noise", "smoothing"),
    [(None, "SlerpNoise", 0.65), ("dds+iscs", "SlerpNoise", 0.65), ("dds", "IndependentNoise", 0.0)],
)
def test_independent_noise_leaves_corrections_across_slices_free(bundle, method, noise, smoothing):
    default = Pipeline(bundle, device="cpu", network=False, overrides={})
    sampler = default.settings(default.sampler(method and parse_method(method)))["sampler"]
    assert (sampler["noise"], sampler["consistency"]["smoothing"]) == (noise, smoothing)


@pytest.mark.parametrize("text", ["dds", "dds+iscs", "ddnm+identical", "dds+tv+identical-steps"])
def test_a_bundle_s_own_choice_is_named_as_the_method_that_it_is(pipeline, text):
    method = parse_method(text)
    assert pipeline.name_sampler(pipeline.sampler(method)) == method.label
