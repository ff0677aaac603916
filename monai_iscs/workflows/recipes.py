# SPDX-License-Identifier: Apache-2.0
"""From the recipes of a bundle to the one that a run uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from monai_iscs.errors import InputError
from monai_iscs.sampling import Recipe

REPLACING = ("method", "steps", "eta", "smoothing", "noise_level", "plugs")  # entries that change the chosen recipe


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
    """A recipe of a bundle, with what a user wants to be different; None leaves it as it is.

    Args:
        recipes: the bundle's, by name.
        name: the one to start from.
        method: ``SAMPLER[+tv][+NOISE]``, which replaces the consistency step and the noise, see `Recipe.method`.
        steps: another number of steps.
        eta: another share of fresh noise.
        smoothing: another width across slices to which corrections are bound.
        noise_level: of the measurement, which carries it. Given, the measurement is met no closer than its noise.
        plugs: other parts of the recipe, by the names of its arguments, such as "noise"; they override the method's.

    Raises:
        InputError: a recipe or a part of no such name, or a value out of range.
    """
    if name not in recipes:
        raise InputError(f"recipe: found {name!r}, expected one of {', '.join(recipes)}")
    recipe = recipes[name] if method is None else recipes[name].method(method)
    if plugs:
        known = [field.name for field in fields(recipe)]
        if not set(plugs) <= set(known):
            raise InputError(f"plugs: found {', '.join(plugs)}, expected some of {', '.join(known)}")
        recipe = replace(recipe, **plugs)
    return recipe.changed(steps=steps, eta=eta, smoothing=smoothing, to_the_noise=bool(noise_level))
