# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, dataclass, replace

import pytest
import torch
from monai.bundle import ConfigParser

from monai_iscs.errors import InputError
from monai_iscs.methods import INDEPENDENT, parse_sampler
from monai_iscs.priors import Mirrored, Neighbours, NonNegative, Overstated, Prior, SlicePrior
from monai_iscs.sampling import (
    DDNM,
    DDS,
    DDSTV,
    NOISES,
    PAPER,
    RELEASED,
    SAMPLERS,
    ConjugateGradient,
    Consistency,
    DDIMRule,
    DDSRule,
    Direct,
    Geometric,
    IdenticalNoise,
    IndependentNoise,
    Recipe,
    SlerpNoise,
    StagedNoise,
    Zeros,
)

ALL = ("default", "fast", "limited-angle", "super-resolution", "released", "paper")


@dataclass(frozen=True)
class Idle(Consistency):
    """A consistency step that does nothing, as a user would write one."""

    label = "Idle"

    def bind(self, measurement, axis):
        return lambda x0, sigma: x0


def test_released_is_what_the_published_code_runs():
    assert Recipe() == RELEASED
    assert RELEASED.sigmas == Geometric(30, 5.0, 0.01)
    assert (RELEASED.start, RELEASED.rule, RELEASED.noise) == (Direct(), DDSRule(1.0), SlerpNoise())
    assert RELEASED.consistency == DDS(solver=ConjugateGradient(iterations=10), gamma=None)
    assert RELEASED.prior == SlicePrior(axis=2)
    torch.testing.assert_close(torch.tensor(RELEASED.sigmas.levels())[[0, -1]], torch.tensor([5, 0.01]))


def test_paper_starts_from_pure_noise():
    assert (PAPER.start, PAPER.rule, PAPER.noise) == (Zeros(), DDIMRule(1.0), SlerpNoise())
    assert PAPER.consistency == DDS(solver=ConjugateGradient(iterations=10), gamma=1.0)
    levels = torch.tensor(PAPER.changed(steps=7).sigmas.levels())
    torch.testing.assert_close(levels[[0, -1]], torch.tensor([378, 0.01]))
    assert len(PAPER.sigmas.levels()) == 30


@pytest.mark.parametrize("name", ALL)
def test_steps_can_be_chosen(recipes, name):
    changed = recipes[name].changed(steps=4)
    assert len(changed.sigmas.levels()) == 4
    assert changed.sigmas.levels()[0] == recipes[name].sigmas.levels()[0]
    assert replace(changed, sigmas=recipes[name].sigmas) == recipes[name]
    with pytest.raises(InputError, match="steps: found 0"):
        recipes[name].changed(steps=0)


def test_single_values_are_replaced_last(recipes):
    default = recipes["default"]
    assert default.changed() == default
    changed = default.changed(eta=0.5, smoothing=0.3)
    assert changed.rule == replace(default.rule, eta=0.5)
    assert changed.consistency.solver == replace(default.consistency.solver, smoothing=0.3)
    assert default.consistency.solver.smoothing == 0.65
    assert recipes["fast"].changed(eta=0.5).rule == DDSRule(0.5, momentum=0.45)
    with pytest.raises(InputError, match=r"eta: found 1\.5"):
        default.changed(eta=1.5)
    assert default.method("dds+tv").changed(smoothing=0.3).consistency.solver.smoothing == 0.3


@pytest.mark.parametrize(
    ("text", "sampler", "noise", "label"),
    [
        ("dds", "dds", "", "DDS"),
        ("dds+iscs", "dds", "iscs", "DDS+ISCS"),
        ("DDS+slerp", "dds", "iscs", "DDS+ISCS"),
        (" DDS+ISCS ", "dds", "iscs", "DDS+ISCS"),
        ("ddnm+identical", "ddnm", "identical", "DDNM+BCS"),
        ("dds+identical-steps", "dds", "identical-steps", "DDS+BCS (steps only)"),
        ("dds+noiseless", "dds", "noiseless", "DDS+noiseless"),
        ("dds+tv", "dds+tv", "", "DDS+TV"),
        ("dds-tv", "dds+tv", "", "DDS+TV"),
        ("dds+tv+slerp", "dds+tv", "iscs", "DDS+TV+ISCS"),
        ("dds-tv+iscs", "dds+tv", "iscs", "DDS+TV+ISCS"),
    ],
)
@pytest.mark.parametrize("name", ALL)
def test_a_method_is_a_sampler_and_a_noise(recipes, name, text, sampler, noise, label):
    assert parse_sampler(text) == (sampler, noise or INDEPENDENT)
    method = recipes[name].method(text)
    assert method.label == label
    assert type(method.consistency) is type(SAMPLERS[sampler])
    assert method.noise == NOISES.get(noise, IndependentNoise())
    unchanged = ("start", "sigmas", "prior", "rule", "samplers")
    assert all(getattr(method, part) == getattr(recipes[name], part) for part in unchanged)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ddd", "expected one of dds, ddnm, dds+tv"),
        ("", "expected one of dds"),
        ("+iscs", "expected one of dds"),
        ("fdk", "expected one of dds"),
        (
            "dds+pink",
            "one noise of iscs, identical, identical-steps, kernel, adaptive, noiseless; without one it draws",
        ),
    ],
)
def test_other_names_are_refused_with_what_there_is(text, expected):
    with pytest.raises(InputError) as refused:
        RELEASED.method(text)
    assert expected in str(refused.value)
    assert str(refused.value).startswith(f"method: found {text!r}")


def test_all_methods_have_labels_of_their_own():
    methods = [RELEASED.method("+".join(filter(None, (name, noise)))) for name in SAMPLERS for noise in ("", *NOISES)]
    assert len({method.label for method in methods}) == len(methods) == len(SAMPLERS) * (1 + len(NOISES))


@pytest.mark.parametrize(
    ("consistency", "noise", "label"),
    [
        (DDS(), SlerpNoise(60), "DDS+ISCS"),
        (DDSTV(), IndependentNoise(), "DDS+TV"),
        (DDNM(), StagedNoise(IndependentNoise(), IdenticalNoise()), "DDNM+BCS (steps only)"),
        (Idle(), IdenticalNoise(), "Idle+BCS"),
    ],
)
def test_the_choice_of_a_bundle_has_a_name(consistency, noise, label):
    assert Recipe(consistency=consistency, noise=noise).label == label


def test_a_method_takes_what_was_tuned_for_it(recipes):
    """The recipe's own consistency step, one of its samplers, or the library's; and its own noise of that name."""
    default = recipes["default"]
    assert default.method("dds+iscs") == default
    assert default.method("ddnm+iscs").consistency == default.samplers["ddnm"]
    assert default.method("ddnm+iscs").method("dds+tv+iscs").consistency == default.samplers["dds+tv"]
    assert RELEASED.method("ddnm+iscs").consistency == DDNM()
    turned = replace(default, noise=SlerpNoise(anchor_angle=60))
    assert turned.method("ddnm+iscs").noise == SlerpNoise(anchor_angle=60)
    assert turned.method("dds+identical").noise == IdenticalNoise()
    own = replace(default, noise=StagedNoise(IndependentNoise(), IdenticalNoise()))
    assert own.method("dds+identical-steps").noise == own.noise
    other = replace(default, noise=StagedNoise(IdenticalNoise(), SlerpNoise()))
    assert other.method("dds+identical-steps").noise == NOISES["identical-steps"]


@pytest.mark.parametrize(
    ("name", "method", "smoothing", "width"),
    [
        ("default", None, None, 0.65),
        ("default", "dds+iscs", None, 0.65),
        ("default", "dds+identical", None, 0.65),
        ("default", "dds+identical-steps", None, 0.65),
        ("default", "dds", None, 0.0),
        ("default", "dds", 0.3, 0.3),
        ("default", None, 0.0, 0.0),
        ("default", "ddnm+iscs", None, 0.65),
        ("default", "ddnm", None, 0.0),
        ("default", "ddnm", 0.3, 0.3),
        ("released", None, None, 0.0),
    ],
)
def test_corrections_are_bound_across_slices_where_their_noise_is_alike(recipes, name, method, smoothing, width):
    recipe = recipes[name] if method is None else recipes[name].method(method)
    consistency = recipe.changed(smoothing=smoothing).consistency
    assert (consistency.solver.smoothing if isinstance(consistency, DDS) else consistency.smoothing) == width


def test_independent_noise_frees_the_corrections_across_slices_only(recipes):
    free = recipes["super-resolution"].method("dds").consistency
    assert free == recipes["super-resolution"].consistency
    assert free.solver.plane_smoothing == 0.4


@pytest.mark.parametrize(
    ("name", "method", "told", "meets_the_noise"),
    [
        ("default", None, False, True),
        ("default", "ddnm+iscs", False, True),
        ("default", "dds+tv", False, True),
        ("released", None, False, False),
        ("released", None, True, True),
        ("released", "ddnm", True, True),
        ("paper", None, False, False),
    ],
)
def test_the_noise_of_a_measurement_is_not_fitted(recipes, name, method, told, meets_the_noise):
    recipe = recipes[name] if method is None else recipes[name].method(method)
    assert recipe.changed(to_the_noise=told).consistency.discrepancy == meets_the_noise


def test_what_cannot_stop_at_the_noise_says_so(recipes):
    with pytest.raises(InputError, match=r"gamma: found 1\.0 with discrepancy"):
        recipes["paper"].changed(to_the_noise=True)
    with pytest.raises(InputError, match="noise_level: found one with Idle"):
        replace(RELEASED, consistency=Idle()).changed(to_the_noise=True)


@pytest.mark.parametrize("name", ALL)
def test_a_description_is_json(recipes, name):
    recipe = recipes[name]
    described = recipe.as_dict()
    assert json.loads(json.dumps(described)) == described
    assert list(described) == ["start", "sigmas", "prior", "consistency", "noise", "rule"]
    assert described["consistency"]["solver"]["iterations"] == recipe.consistency.solver.iterations
    assert recipe.changed(steps=3).as_dict() == described | {"sigmas": described["sigmas"] | {"steps": 3}}
    for other in ALL:
        assert (recipes[other].as_dict() == described) == (other == name)


def test_descriptions_go_to_the_ground():
    """Plugs inside plugs, in tuples and in mappings too."""

    @dataclass(frozen=True)
    class Several(SlicePrior):
        priors: tuple[Prior, ...] = ()
        named: dict[str, Prior] | None = None

    prior = Several(0, priors=(SlicePrior(1), Overstated(SlicePrior(), 2.0)), named={"a": SlicePrior(0, "b")})
    described = Recipe(prior=prior, noise=NOISES["identical-steps"]).as_dict()
    one = {"name": "SlicePrior", "axis": 1, "network": "prior"}
    wrapped = {"name": "Overstated", "prior": one | {"axis": 2}, "factor": 2.0}
    assert described["prior"] == one | {
        "name": "Several",
        "axis": 0,
        "priors": [one, wrapped],
        "named": {"a": one | {"axis": 0, "network": "b"}},
    }
    start, steps = {"name": "SlerpNoise", "anchor_angle": None}, {"name": "IdenticalNoise"}
    assert described["noise"] == {"name": "StagedNoise", "start": start, "steps": steps}
    assert json.loads(json.dumps(described)) == described


def test_equal_settings_are_equal_recipes(recipes):
    for name in ALL:
        for other in ALL:
            assert (recipes[name] == recipes[other]) == (name == other)
        assert replace(recipes[name]) == recipes[name]
        assert recipes[name].changed(eta=0.5) != recipes[name]
        with pytest.raises(FrozenInstanceError):
            recipes[name].noise = IdenticalNoise()


def test_samplers_of_other_names_are_refused():
    with pytest.raises(InputError, match=r"samplers: found dds-tv, sirt, expected some of dds, ddnm, dds\+tv"):
        Recipe(samplers={"dds-tv": DDSTV(), "sirt": DDNM()})


def test_a_prior_that_knows_three_dimensions_is_a_method_where_a_recipe_has_one():
    blend = NonNegative(Neighbours(2, "neighbours"))
    recipe = Recipe(prior=NonNegative(SlicePrior()), priors={"diffusionblend": blend}, consistency=DDNM(iterations=7))
    found = recipe.method("diffusionblend+iscs")
    assert (found.prior, found.label) == (blend, "DiffusionBlend+ISCS")
    assert found.consistency == recipe.method("dds+iscs").consistency
    assert recipe.method("diffusionblend").label == "DiffusionBlend"
    assert recipe.method("diffusionblend").consistency == recipe.method("dds").consistency
    assert replace(recipe, prior=blend).label == "DDNM+ISCS"
    assert recipe.method("dds").prior == recipe.prior
    assert "priors" not in recipe.as_dict()
    with pytest.raises(
        InputError, match="method: found 'tpdm', expected one whose prior the recipe has: diffusionblend"
    ):
        recipe.method("tpdm")
    with pytest.raises(InputError, match=r"priors: found dds, expected some of diffusionblend, tpdm"):
        Recipe(priors={"dds": blend})


def test_a_config_can_write_a_recipe(recipes):
    parser = ConfigParser(
        {
            "tuned": {
                "_target_": "monai_iscs.sampling.Recipe",
                "sigmas": {"_target_": "monai_iscs.sampling.Geometric", "steps": 15, "first": 0.1, "last": 0.002},
                "prior": {
                    "_target_": "monai_iscs.priors.Mirrored",
                    "prior": {"_target_": "monai_iscs.priors.SlicePrior", "axis": 2},
                },
                "samplers": {"ddnm": {"_target_": "monai_iscs.sampling.DDNM", "iterations": 20}},
            },
            "changed": "$@tuned.method('ddnm').changed(steps=5)",
        }
    )
    expected = Recipe(
        sigmas=Geometric(15, 0.1, 0.002), prior=Mirrored(SlicePrior()), samplers={"ddnm": DDNM(iterations=20)}
    )
    assert parser.get_parsed_content("tuned") == expected
    assert parser.get_parsed_content("changed") == expected.method("ddnm").changed(steps=5)
