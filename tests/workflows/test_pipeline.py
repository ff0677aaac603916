# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.files import sha256
from monai_iscs.methods import BASELINES, parse_method
from monai_iscs.workflows.bundle import read_config
from monai_iscs.workflows.pipeline import CLASSICAL, Pipeline

SOLVER = {
    "name": "ConjugateGradient",
    "iterations": 10,
    "smoothing": 0.0,
    "plane_smoothing": 0.0,
    "ramp": 0.0,
    "rtol": 0.0,
}


@pytest.fixture(scope="module")
def pipeline(bundle):
    return Pipeline(bundle, device="cpu", network=False, overrides={"recipe": "released"})


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("dds", {"name": "DDS", "gamma": None, "solver": SOLVER}),
        ("ddnm", {"name": "DDNM", "iterations": 100, "rtol": 1e-3, "smoothing": 0.0, "discrepancy": False}),
        ("dds-tv", {"name": "DDSTV", "solver": SOLVER, "lam": 0.003, "rho": 0.3, "admm_iterations": 1}),
    ],
)
def test_every_setting_in_effect_is_recorded_defaults_included(pipeline, method, expected):
    sampler = pipeline.settings(pipeline.sampler(parse_method(method)))["sampler"]
    assert json.loads(json.dumps(sampler)) == sampler
    assert expected.items() <= sampler["consistency"].items()
    assert (sampler["recipe"], sampler["prior"]["axis"]) == ("released", 2)
    assert sampler["replaced"] == {"method": parse_method(method).text, "steps": 3}


def test_the_record_says_the_recipe_what_was_replaced_and_the_result(pipeline):
    changes = {"steps": 5, "eta": 0.0}
    sampler = pipeline.settings(pipeline.sampler(parse_method("dds+iscs"), changes=changes))["sampler"]
    assert sampler["recipe"] == "released"
    assert sampler["replaced"] == {"method": "dds+iscs", "steps": 5, "eta": 0.0}
    assert sampler["sigmas"] == {"name": "Geometric", "steps": 5, "first": 5.0, "last": 0.01}
    assert sampler["rule"] == {"name": "DDSRule", "eta": 0.0, "momentum": 0.0}
    assert sampler["start"] == {"name": "Direct"}
    assert sampler["noise"] == {"name": "SlerpNoise", "anchor_angle": None}


def test_settings_are_the_same_in_every_process(mri):
    """A function's address would change: a benchmark would not find its cells again."""
    plugs = {"prior": {"_target_": "monai_iscs.priors.SlicePrior", "axis": 1}}
    pipeline = Pipeline(mri, device="cpu", network=False, overrides={"factor": 5, "seed": 0, "noise_std": 0.02})
    settings = pipeline.settings(pipeline.sampler(parse_method("dds"), changes={"plugs": plugs}))
    assert " at 0x" not in json.dumps(settings, default=str)
    assert settings["sampler"]["prior"] == {"name": "SlicePrior", "axis": 1, "network": "prior"}
    assert settings["sampler"]["replaced"]["plugs"] == plugs


def test_what_was_given_overrides_the_defaults(bundle):
    pipeline = Pipeline(bundle, device="cpu", network=False, overrides={})
    plugs = {"noise": {"_target_": "monai_iscs.sampling.SlerpNoise", "anchor_angle": 45}}
    changes = {"plugs": plugs, "recipes::default::samplers::ddnm::iterations": 7}
    sampler = pipeline.settings(pipeline.sampler(parse_method("ddnm"), changes=changes))["sampler"]
    assert sampler["noise"] == {"name": "SlerpNoise", "anchor_angle": 45}
    assert sampler["consistency"]["iterations"] == 7


def test_a_part_that_no_recipe_has(pipeline):
    with pytest.raises(InputError, match="plugs: found colour, expected some of start, sigmas"):
        pipeline.sampler(changes={"plugs": {"colour": 1}})


def test_every_baseline_has_a_function_of_the_classical_methods():
    assert set(CLASSICAL) == set(BASELINES)
    assert all(method.__module__.startswith("monai_iscs.classical.") for method in CLASSICAL.values())


@pytest.mark.parametrize(
    ("method", "noise", "smoothing"),
    [(None, "SlerpNoise", 0.65), ("dds+iscs", "SlerpNoise", 0.65), ("dds", "IndependentNoise", 0.0)],
)
def test_independent_noise_leaves_corrections_across_slices_free(bundle, method, noise, smoothing):
    default = Pipeline(bundle, device="cpu", network=False, overrides={})
    sampler = default.settings(default.sampler(method and parse_method(method)))["sampler"]
    assert (sampler["noise"]["name"], sampler["consistency"]["solver"]["smoothing"]) == (noise, smoothing)


@pytest.mark.parametrize("text", ["dds", "dds+iscs", "ddnm+identical", "dds+tv+identical-steps"])
def test_a_bundle_s_own_choice_is_named_as_the_method_that_it_is(pipeline, text):
    method = parse_method(text)
    assert pipeline.sampler(method).recipe.label == method.label


def test_the_deterministic_recipe_has_no_seed(bundle, body):
    volumes = []
    for seed in (0, 1):
        pipeline = Pipeline(bundle, device="cpu", overrides={"seed": seed, "recipe": "deterministic"})
        sampler = pipeline.sampler()
        assert sampler.recipe.label == "DDS+noiseless"
        measured = pipeline.measure(pipeline.load(body))
        volumes.append(pipeline.sample(sampler, measured, lambda state: None).volume)
    assert torch.equal(*volumes)
    with pytest.raises(InputError, match="samples: found 2 of DDS"):
        Pipeline(bundle, device="cpu", overrides={"samples": 2, "recipe": "deterministic"}).sampler()


@pytest.fixture(scope="module")
def with_priors(bundle, tmp_path_factory):
    """The bundle with weights of its further networks, never trained."""
    folder = tmp_path_factory.mktemp("bundles") / "priors"
    shutil.copytree(bundle, folder)
    file = folder / "configs" / "inference.json"
    config = json.loads(file.read_text())
    small = config["network_def"]["network"]["network"]
    own = config["networks"]["neighbours"]["network_def"]["network"]["network"]
    own.update(
        {name: value for name, value in small.items() if not name.endswith("put_channels") and name != "in_channels"}
    )
    own.update(in_channels=16, out_channels=4)
    file.write_text(json.dumps(config))
    parser = read_config(folder, "inference", {})
    torch.manual_seed(1)
    for name in ("neighbours", "coronal"):
        network = parser.get_parsed_content(f"networks::{name}::network_def")
        for weights in network.parameters():  # the last layer starts from 0
            torch.nn.init.normal_(weights, std=0.1)
        torch.save(network.state_dict(), folder / "models" / f"{name}.pt")
    return folder


def test_methods_with_further_networks(with_priors, body):
    pipeline = Pipeline(with_priors, device="cpu", overrides={"seed": 0})
    measured = pipeline.measure(pipeline.load(body))
    volumes = {}
    for name in ("dds+iscs", "diffusionblend+iscs", "tpdm+iscs"):
        method = parse_method(name)
        pipeline.check_method(method)
        sampler = pipeline.sampler(method)
        assert sampler.recipe.label == method.label
        volumes[name] = pipeline.sample(sampler, measured, lambda state: None).volume
        names = {"dds+iscs": "", "diffusionblend+iscs": ["neighbours"], "tpdm+iscs": ["prior", "coronal"]}[name]
        files = {key: with_priors / "models" / f"{'model' if key == 'prior' else key}.pt" for key in names}
        expected = {key: sha256(file) for key, file in files.items()}
        assert pipeline.weights(sampler) == (expected or sha256(with_priors / "models" / "model.pt"))
    again = pipeline.sample(pipeline.sampler(parse_method("dds+iscs")), measured, lambda state: None).volume
    assert torch.equal(again, volumes["dds+iscs"])  # no network got another's weights
    for name in ("diffusionblend+iscs", "tpdm+iscs"):
        assert float((volumes[name] - again).abs().max()) > 1e-3


def test_a_method_whose_network_has_no_weights_is_refused_with_their_file(bundle):
    pipeline = Pipeline(bundle, device="cpu", overrides={})
    with pytest.raises(InputError, match=r"models.coronal\.pt"):
        pipeline.check_method(parse_method("tpdm"))
    with pytest.raises(InputError, match="expected one whose prior the recipe has: none"):
        Pipeline(bundle, device="cpu", overrides={"recipe": "fast"}).check_method(parse_method("tpdm"))
