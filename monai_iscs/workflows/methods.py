# SPDX-License-Identifier: Apache-2.0
"""The names of methods: one grammar for every verb, ``SAMPLER[+tv][+NOISE]`` or the name of a baseline."""

from __future__ import annotations

from typing import NamedTuple

from monai_iscs.errors import InputError
from monai_iscs.workflows.names import CHOICES

INDEPENDENT = "independent"  # the noise of a sampler whose name says none
NOISES = tuple(name for name in CHOICES["noise"] if name != INDEPENDENT)
ALIASES = {"slerp": "iscs"}  # understood where a method is typed, never shown
_NOISE_LABELS = {"iscs": "ISCS", "identical": "BCS", "identical-steps": "BCS (steps only)", INDEPENDENT: ""}
_LABELS = {"cubic": "Cubic", "dds-tv": "DDS+TV"}


class Method(NamedTuple):
    """A way to reconstruct.

    Attributes:
        name: a name of `CHOICES["sampler"]` or `CHOICES["baseline"]`.
        noise: a name of `CHOICES["noise"]`; None for a baseline, which draws none.
    """

    name: str
    noise: str | None = None

    @property
    def label(self) -> str:
        """What tables, figures and files call it, such as DDS+ISCS; `parse_method` reads most of them too."""
        base = _LABELS.get(self.name, self.name.upper())
        return "+".join(filter(None, (base, self.noise and _NOISE_LABELS[self.noise])))


def parse_method(text: str) -> Method:
    """The method of a name such as ``fdk``, ``dds``, ``dds+iscs`` or ``dds+tv+iscs``.

    A sampler draws independent noise unless its name says another one. ``dds-tv`` is ``dds+tv``.

    Raises:
        InputError: an unknown name, additions in another order, or additions to what cannot take them.
    """
    name, *additions = text.strip().lower().split("+")
    additions = [ALIASES.get(addition, addition) for addition in additions]
    samplers, baselines = CHOICES["sampler"], CHOICES["baseline"]
    if name not in {*samplers, *baselines}:
        raise InputError(f"method: found {text!r}, expected {_known()}")
    if name in baselines:
        if additions:
            raise InputError(f"method: found {text!r}, expected {name} alone, which draws no noise")
        return Method(name)
    if "tv" in additions[1:] and additions.count("tv") == 1:
        ordered = "+".join([name, "tv", *(addition for addition in additions if addition != "tv")])
        raise InputError(f"method: found {text!r}, expected tv before the noise: {ordered}")
    if additions[:1] == ["tv"]:
        if f"{name}-tv" not in samplers:
            raise InputError(f"method: found {text!r}, expected tv with dds only")
        name, additions = f"{name}-tv", additions[1:]
    if len(additions) > 1 or not set(additions) <= set(NOISES):
        raise InputError(
            f"method: found {text!r}, expected {name} with at most one noise of {', '.join(NOISES)}; without one it "
            "draws independent noise"
        )
    return Method(name, additions[0] if additions else INDEPENDENT)


def name_sampler(consistency: str, noise: str) -> str:
    """The label of a sampler that a bundle chose itself, from the names of its consistency step and noise classes."""
    names = {_class(entry): name for name, entry in CHOICES["sampler"].items() if entry}
    noises = {_class(entry): name for name, entry in CHOICES["noise"].items()}
    base = Method(names[consistency]).label if consistency in names else consistency
    return "+".join(filter(None, (base, _NOISE_LABELS[noises[noise]] if noise in noises else noise)))


def _class(entry: dict[str, object]) -> str:
    return str(entry["_target_"]).rpartition(".")[2]


def _known() -> str:
    return (
        f"one of {', '.join(CHOICES['baseline'])}, or one of {', '.join(CHOICES['sampler'])} followed, where its noise "
        f"is not independent, by +{', +'.join(NOISES)}"
    )
