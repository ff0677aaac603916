# SPDX-License-Identifier: Apache-2.0
"""From the recipes of a bundle to the one that a run uses."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from monai_iscs.errors import InputError
from monai_iscs.sampling import Recipe
from monai_iscs.workflows.bundle import find_bundle, read_config

REPLACING = ("method", "steps", "eta", "smoothing", "noise_level", "plugs")  # entries that change the chosen recipe


def load_recipe(bundle: str | os.PathLike[str], name: str | None = None) -> Recipe:
    """A recipe that was tuned for a bundle's prior. A bundle is code: run only those you trust.

    Args:
        bundle: name or folder, see `find_bundle`.
        name: of the recipe; None: the one that the bundle uses.

    Raises:
        InputError: no such bundle or recipe.
    """
    config = read_config(find_bundle(bundle), "inference", {})
    name = config.get_parsed_content("recipe") if name is None else name
    return choose_recipe(config.get_parsed_content("recipes"), name)


def choose_recipe(
    recipes: Mapping[str, Recipe],
    name: str,
    *,
    method: str | None = None,
    steps: int | None = None,
    eta: float | None = None,
    smoothing: float | None = None,
    noise_level: float | None = None,
    plugs: Mapping[str, Any] | None = None,
) -> Recipe:
    """A recipe of a bundle with a user's changes; None changes nothing.

    Args:
        recipes: the bundle's, by name.
        name: the one to start from.
        method: ``SAMPLER[+tv][+NOISE]``, which replaces the consistency step and the noise, see `Recipe.method`.
        steps: another number of steps.
        eta: another share of fresh noise.
        smoothing: another width of corrections across slices.
        noise_level: of the measurement, which stores it. If given, the consistency step stops at the noise, or weighs
            measurement against prior by it.
        plugs: other parts of the recipe, by the names of its arguments, such as "noise"; they override the method's,
            which is made from the given samplers and priors.

    Raises:
        InputError: a recipe or a part of no such name, or a value out of range.
    """
    if name not in recipes:
        raise InputError(f"recipe: found {name!r}, expected one of {', '.join(recipes)}")
    recipe, plugs = recipes[name], dict(plugs or {})
    known = [field.name for field in fields(recipe)]
    if not set(plugs) <= set(known):
        raise InputError(f"plugs: found {', '.join(plugs)}, expected some of {', '.join(known)}")
    recipe = replace(recipe, **{entry: plugs.pop(entry) for entry in ("samplers", "priors") if entry in plugs})
    recipe = replace(recipe if method is None else recipe.method(method), **plugs)
    return recipe.changed(steps=steps, eta=eta, smoothing=smoothing, to_the_noise=bool(noise_level))
